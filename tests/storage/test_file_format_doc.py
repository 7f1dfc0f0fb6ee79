"""docs/file-format.md tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamscope.storage.journal import JournalReader
from streamscope.storage.result import write_session
from streamscope.storage.schema import TABLES
from streamscope.storage.session_folder import SessionFolder
from streamscope.testing.fake_session import SHAPE, fake_refit

DOC = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text(encoding="utf-8")


@pytest.fixture
def written(recorded: SessionFolder) -> SessionFolder:
    with JournalReader(recorded.journal) as reader:
        write_session(recorded, reader, fake_refit())
    return recorded


def test_the_ten_lines_that_read_a_session_work(written: SessionFolder, monkeypatch: pytest.MonkeyPatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    monkeypatch.chdir(written.folder)
    names: dict[str, np.ndarray] = {}
    exec(code, names)  # the page's own example
    assert names["C"].shape == (2, 60)
    assert np.flatnonzero(names["first_cell"]).tolist() == list(range(50, 59))
    assert names["first_cell"].shape == SHAPE


def test_every_dataset_attribute_and_table_is_described(written: SessionFolder):
    with h5py.File(written.result) as file:
        names = [*file, *file.attrs]
        for group in file.values():
            names += [*group, *group.attrs]
    names += re.findall(r"CREATE TABLE (\w+)", TABLES)
    missing = [name for name in names if f"`{name}`" not in DOC and f"### {name}/" not in DOC]
    assert missing == []
