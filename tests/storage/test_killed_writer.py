"""A session whose program is killed keeps everything up to the last commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamscope.storage.journal import JournalReader
from streamscope.storage.session_folder import SessionFolder
from streamscope.storage.session_record import open_live
from streamscope.storage.summary import summarise
from streamscope.testing.fake_session import LIVES, FakeSession

# Appends frames and says each commit; never closes. With a frame to stop at, it waits there to be killed.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from streamscope.storage.journal import Journal
from streamscope.testing.fake_session import FakeSession

class Waiting(Journal):
    def append_result(self, result, t_publish_ns):
        super().append_result(result, t_publish_ns)
        if result.index == int(sys.argv[2]):
            print("waiting", flush=True)
            sys.stdin.read()

    def commit(self):
        super().commit()
        print("committed", flush=True)

journal = Waiting(Path(sys.argv[1]))
fake = FakeSession()
fake.write(journal)
for number in range(60, 10**9):
    result = fake.results[59]
    journal.append_result(replace(result, index=number), result.t_result_ns + 400_000)
    if number % 10 == 9:
        journal.commit()
"""


def kill_writer(journal: Path, stop_at: int, after: str, times: int = 1) -> None:
    """Run the writer and kill it when it has said `after` so many times."""
    command = [sys.executable, "-c", WRITER, str(journal), str(stop_at)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = 0
        while said < times:
            line = writer.stdout.readline()
            assert line, "the writer ended before it was killed"
            said += line.strip() == after
        writer.kill()


@pytest.mark.parametrize(("stop_at", "kept"), [(5, 0), (47, 40)])
def test_all_that_was_committed_is_read_and_nothing_more(tmp_path: Path, stop_at: int, kept: int):
    path = tmp_path / "journal.sqlite"
    kill_writer(path, stop_at, "waiting")
    with JournalReader(path) as reader:
        assert reader.n_frames == kept
        assert not reader.closed
        for (result, _), written in zip(reader.results(), FakeSession().results[:kept], strict=True):
            assert result.y.tobytes() == written.y.tobytes()
            assert result.c_lag.tobytes() == written.c_lag.tobytes()
            assert result.shift == written.shift


def test_a_writer_killed_while_it_writes_leaves_whole_frames(session: SessionFolder):
    kill_writer(session.journal, -1, "committed", times=30)
    fake = FakeSession()
    with JournalReader(session.journal) as reader:
        assert reader.n_frames >= 300
        assert reader.n_frames % 10 == 0
        for result, _ in reader.results(60):
            assert result.y.tobytes() == fake.results[59].y.tobytes()
    with open_live(session) as live:
        components = live.components()
        alive = components.select(components.has_status("confirmed"))
        assert alive.ids.tolist() == [1, 7]
        traces = live.traces(alive.ids)
        for row, id_ in enumerate(alive.ids):
            assert np.isfinite(traces.C_raw[row, LIVES[int(id_)][0] :]).all()
    assert not summarise(session).ended
