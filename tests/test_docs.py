"""What the documents say can be done: links lead somewhere, the README's commands stand, the examples run."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamscope.types import ComponentEvent, Footprints, FrameResult, Health, Shift
from streamscope.wire.publisher import Publisher

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LISTEN = (ROOT / "docs" / "howto" / "listen.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", LISTEN, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page):
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "decisions"
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}
    listed = set(re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert pages
    assert pages <= listed


def test_every_fault_has_the_test_that_its_table_names():
    rows = [
        row
        for row in (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
        if row[:1] == "|"
    ]
    named = [re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row) for row in rows[2:]]
    assert len(named) > 20
    for row, tests in zip(rows[2:], named, strict=True):
        assert tests or "| the same" in row, row
        for file, name in tests:
            assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), (file, name)


def test_the_readme_has_the_two_commands_that_ci_runs():
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    venv = "python3 -m venv .venv && .venv/bin/pip install -q -e"
    assert lines.count(f"{venv} . && .venv/bin/streamscope demo") == 1
    assert lines.count(f'{venv} ".[test]" && .venv/bin/pytest') == 1


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_listening_runs_until_the_session_ends(example, capsys):
    assert "tcp://127.0.0.1:5570" in example
    with Session() as session:
        code = example.replace("tcp://127.0.0.1:5570", session.endpoint)
        exec(compile(code, "docs/howto/listen.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 1


class Session:
    """A publisher in a thread: some frames of two cells once somebody listens, then the end."""

    def __enter__(self):
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.thread.join(10)
        assert not self.thread.is_alive()

    def _run(self):
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._publish())

    async def _publish(self):
        with Publisher("127.0.0.1:0") as publisher:
            self.endpoint = publisher.endpoints.data
            control = asyncio.create_task(publisher.serve_control())
            self.ready.set()
            while not publisher.subscribers("traces/"):
                publisher.publish_status(
                    Health("RUNNING", -1, None, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, (0.0, 0.0))
                )
                await asyncio.sleep(0.01)
            for frame in range(30):
                if frame == 15:
                    publisher.publish_epoch(epoch(), [ComponentEvent("born", 3, frame)], frame)
                publisher.publish_result(result(frame))
                await asyncio.sleep(0.01)
            control.cancel()


def epoch():
    spot = (np.array([1, 2], np.int32), np.ones(2, np.float32))
    return Table(np.array([3, 4], np.uint32), Footprints.from_columns((8, 8), [spot, spot]))


def result(frame):
    values = [np.full(2, 9, np.float32) for _ in range(5)]
    now_ns = time.monotonic_ns()
    return FrameResult(frame, 1, now_ns, now_ns, Shift(), np.array([3, 4], np.uint32), *values)


class Table:
    """As much of an epoch as a publisher needs."""

    number, frame = 1, 0

    def __init__(self, ids, footprints):
        self.ids, self.footprints = ids, footprints
        self.status = np.ones(len(ids), np.uint8)
        self.born_at = np.zeros(len(ids), np.int64)
        self.snr = np.ones(len(ids), np.float32)
