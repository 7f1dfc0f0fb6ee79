"""How the files of this folder were made. They stay as they are: a new version of a format gets new files.

Run from the repository: python tests/golden/files/make.py
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.config import EngineConfig, SessionConfig
from streamscope.storage.journal import Journal, JournalReader
from streamscope.storage.layout import FORMAT_VERSION
from streamscope.storage.live import LiveRecord
from streamscope.storage.result import ResultReader, write_session
from streamscope.storage.schema import SCHEMA_VERSION
from streamscope.storage.session_folder import create_session
from streamscope.testing.fake_session import N_FRAMES, SHAPE, FakeSession, fake_refit
from streamscope.types import MovieInfo, RefitResult

HERE = Path(__file__).parent


def digest(array: np.ndarray) -> str:
    """Return dtype, shape and a hash of the bytes."""
    data = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()
    return f"{array.dtype.str} {array.shape} {data}"


def describe_live(record: LiveRecord) -> dict[str, Any]:
    """Return what a reader makes of the live part."""
    components, frames = record.components(), record.frames()
    traces = record.traces(components.ids)
    return {
        "n_frames": record.n_frames,
        "ids": components.ids.tolist(),
        "status": list(components.status),
        "reasons": list(components.reasons),
        "avail": components.avail.tolist(),
        "last": components.last.tolist(),
        "A": digest(components.footprints.dense()),
        "traces": {name: digest(getattr(traces, name)) for name in traces.__dataclass_fields__},
        "frames": {name: digest(getattr(frames, name)) for name in frames.__dataclass_fields__},
        "epochs": [[e.number, e.learned_frame, e.adopted_frame] for e in record.epochs()],
        "changes": [[e.kind, e.id, e.frame, e.into, e.factor] for e in record.component_events()],
        "events": [[e.kind, e.frame, dict(e.fields)] for e in record.events()],
    }


def describe_refit(refit: RefitResult) -> dict[str, Any]:
    """Return what a reader makes of the refit."""
    names = ("ids", "C", "S", "C_raw", "sn", "g", "snr", "shifts", "quality", "b0", "mean_image")
    described: dict[str, Any] = {name: digest(getattr(refit, name)) for name in (*names, "correlation_image")}
    return described | {
        "A": digest(refit.footprints.dense()),
        "status": list(refit.status),
        "reasons": list(refit.reasons),
        "notes": dict(refit.notes),
    }


def describe_arrays(reader: JournalReader) -> dict[str, dict[str, str]]:
    """Return what a reader makes of the arrays of the epochs."""
    return {
        str(epoch.number): {n: digest(a) for n, a in sorted(reader.epoch_arrays(epoch.number).items())}
        for epoch in reader.epochs()
    }


def main() -> None:
    """Write the journal, session.h5 and what is expected of them, those of the present versions."""
    with tempfile.TemporaryDirectory() as folder:
        engine = EngineConfig(cell_diameter_px=8.0, fps=20.0, decay_s=0.6, um_per_px=1.65)
        info = MovieInfo("synthetic:golden", (), SHAPE, N_FRAMES, 20.0)
        started = datetime(2026, 5, 1, 14, 30, 5, tzinfo=UTC)
        session = create_session(Path(folder), SessionConfig(), engine, info, started)
        journal = Journal(session.journal)
        FakeSession().write(journal)
        journal.close()
        with JournalReader(session.journal) as reader:
            write_session(session, reader, fake_refit())
            expected = {"live": describe_live(reader), "arrays": describe_arrays(reader)}
        with ResultReader(session.result) as result:
            expected["refit"] = describe_refit(result.refit())
        made = {
            f"journal_v{SCHEMA_VERSION}.sqlite": session.journal,
            f"session_v{FORMAT_VERSION}.h5": session.result,
        }
        for name, path in made.items():
            if not (HERE / f"{name}.gz").exists():
                (HERE / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    text = json.dumps(expected, indent=1) + "\n"
    (HERE / f"expected_v{SCHEMA_VERSION}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
