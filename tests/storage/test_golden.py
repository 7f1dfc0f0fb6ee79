"""Files written by every version are read for ever. They are not made again: see tests/golden/files/make.py."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from streamscope.storage.journal import JournalReader
from streamscope.storage.result import ResultReader

FILES = Path(__file__).parents[1] / "golden" / "files"
EXPECTED = json.loads((FILES / "expected_v1.json").read_text(encoding="utf-8"))
EXPECTED_2 = json.loads((FILES / "expected_v2.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", FILES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((FILES / f"{name}.gz").read_bytes()))
    return path


def test_the_journal_of_version_1_is_read(tmp_path: Path, make: ModuleType):
    with JournalReader(unpacked("journal_v1.sqlite", tmp_path)) as reader:
        assert json.loads(json.dumps(make.describe_live(reader))) == EXPECTED["live"]
        assert make.describe_arrays(reader) == EXPECTED_2["arrays"]  # stored whole here, coded there
        assert reader.closed


def test_the_journal_of_version_2_is_read(tmp_path: Path, make: ModuleType):
    with JournalReader(unpacked("journal_v2.sqlite", tmp_path)) as reader:
        assert json.loads(json.dumps(make.describe_live(reader))) == EXPECTED_2["live"]
        assert make.describe_arrays(reader) == EXPECTED_2["arrays"]
        assert reader.closed


def test_the_session_file_of_version_1_is_read(tmp_path: Path, make: ModuleType):
    with ResultReader(unpacked("session_v1.h5", tmp_path)) as reader:
        assert json.loads(json.dumps(make.describe_live(reader))) == EXPECTED["live"]
        assert json.loads(json.dumps(make.describe_refit(reader.refit()))) == EXPECTED["refit"]
