"""A short session made by hand, with every kind of life that a component can have. No engine needed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamscope.storage.journal import Journal
from streamscope.types import (
    FLAG_BAD_MOTION,
    ByteArray,
    ComponentEvent,
    FloatArray,
    Footprints,
    FrameResult,
    IdArray,
    RefitResult,
    Shift,
    Tail,
)

SHAPE = (40, 48)
LAG = 2
N_FRAMES = 60
# id: (first frame, frame after the last one, end)
LIVES = {
    1: (3, N_FRAMES, "confirmed"),
    2: (5, 20, "merged"),  # into 1
    3: (8, 30, "retired"),
    4: (10, N_FRAMES, "provisional"),
    7: (12, N_FRAMES, "confirmed"),
}
_CHANGES = sorted({f for a, b, _ in LIVES.values() for f in (a, b) if f < N_FRAMES})  # a new epoch at each
EVENTS = (
    ComponentEvent("born", 1, 3, y=10.0, x=12.0, snr=9.5),
    ComponentEvent("confirmed", 1, 6),
    ComponentEvent("rescaled", 1, 7, factor=0.5),
    ComponentEvent("merged", 2, 20, into=1, reason="correlation 0.95"),
    ComponentEvent("retired", 3, 30, reason="no event for 20 s"),
)


@dataclass
class FakeSession:
    """Results, tail, events and epochs of N_FRAMES frames, the same for the same seed."""

    seed: int = 0
    results: list[FrameResult] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.results = [self._result(rng, t) for t in range(N_FRAMES)]

    def ids_at(self, frame: int) -> IdArray:
        """Return the ids that a frame carries; newest first, so that their order is not that of the ids."""
        return np.array([i for i, (a, b, _) in reversed(LIVES.items()) if a <= frame < b], np.uint32)

    @property
    def tail(self) -> Tail:
        """Return the delayed values of the last frames."""
        ids = self.ids_at(N_FRAMES - 1)
        values = np.random.default_rng(99).normal(size=(2, LAG, len(ids))).astype(np.float32)
        return Tail(N_FRAMES - LAG, ids, values[0], values[1])

    def epochs(self) -> list[tuple[int, int, int, dict[str, np.ndarray]]]:
        """Return (number, learned frame, adopted frame, arrays) of each epoch."""
        return [
            (number, frame - 1, frame, self._arrays(frame)) for number, frame in enumerate(_CHANGES, start=1)
        ]

    def write(self, journal: Journal, *, drained: bool = True, commit_every: int = 10) -> None:
        """Append everything in the order in which a session would."""
        epochs = {adopted: (number, learned, adopted, a) for number, learned, adopted, a in self.epochs()}
        for result in self.results:
            if result.index in epochs:
                journal.append_epoch(*epochs[result.index])
            for event in EVENTS:
                if event.frame == result.index:
                    journal.append_component(event)
            if result.gap:
                journal.append_event("gap", result.index, {"missing": result.gap})
            journal.append_result(result, result.t_result_ns + 400_000)
            if result.index % commit_every == commit_every - 1:
                journal.append_health({"frame": result.index, "fps": 20.0})
                journal.commit()
        if drained:
            journal.append_tail(self.tail)

    def _result(self, rng: np.random.Generator, t: int) -> FrameResult:
        ids = self.ids_at(t)
        y, c, s, c_lag, s_lag = rng.normal(size=(5, len(ids))).astype(np.float32)
        bad = t == 15
        due = 1_000_000_000 + t * 50_000_000
        return FrameResult(
            index=t,
            epoch=sum(frame <= t for frame in _CHANGES),
            t_capture_ns=due,
            t_result_ns=due + 2_000_000 + int(rng.integers(1_000_000)),
            shift=Shift(float(rng.normal()), float(rng.normal()), float(rng.uniform(0.5, 1)), not bad),
            ids=ids,
            y=y,
            c=c,
            s=s,
            c_lag=c_lag,
            s_lag=s_lag,
            lag=LAG,
            flags=FLAG_BAD_MOTION if bad else 0,
            gap=3 if t == 25 else 0,
            hw=None if t == 0 else 100 + t,
            time_s=t / 20 + (0.15 if t >= 25 else 0.0),
        )

    def _arrays(self, frame: int) -> dict[str, np.ndarray]:
        """Return an epoch's arrays as the engine gives them: the parts that storage knows, and one more."""
        ids = self.ids_at(frame)
        status: ByteArray = np.array([LIVES[int(i)][2] != "provisional" for i in ids], np.uint8)
        pixels = [np.arange(9, dtype=np.int32) + 50 * int(i) for i in ids]
        weights: list[FloatArray] = [np.linspace(0.5, 2.0 + int(i), 9, dtype=np.float32) for i in ids]
        return {
            "ids": ids,
            "status": status,
            "born_at": np.array([LIVES[int(i)][0] for i in ids], np.int64),
            "snr": np.full(len(ids), 8, np.float32),
            "A_indptr": np.arange(len(ids) + 1, dtype=np.int64) * 9,
            "A_pixels": np.concatenate([*pixels, np.zeros(0, np.int32)]).astype(np.int32),
            "A_weights": np.concatenate([*weights, np.zeros(0, np.float32)]).astype(np.float32),
            "shape": np.array(SHAPE, np.int64),
            "background": np.arange(SHAPE[0] * SHAPE[1], dtype=np.float32),
        }


def fake_refit(n_frames: int = N_FRAMES, seed: int = 1) -> RefitResult:
    """Return a refit of three components, one of them rejected."""
    rng = np.random.default_rng(seed)
    columns = [
        (np.arange(5, dtype=np.int32) + 100 * k, np.linspace(0.2, 3, 5, dtype=np.float32)) for k in range(3)
    ]
    images = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    traces = rng.normal(size=(3, 3, n_frames)).astype(np.float32)
    return RefitResult(
        footprints=Footprints.from_columns(SHAPE, columns),
        ids=np.array([1, 7, 8], np.uint32),
        C=traces[0],
        S=traces[1],
        C_raw=traces[2],
        sn=np.array([0.5, 0.6, 0.7], np.float32),
        g=np.array([[0.9, 0], [0.9, 0], [0.8, 0]], np.float32),
        snr=np.array([40, 22, 5], np.float32),
        status=("accepted", "accepted", "rejected"),
        reasons=("peak 40 sn", "peak 22 sn", "peak 5 sn, at least 10 wanted"),
        shifts=rng.normal(size=(n_frames, 2)).astype(np.float32),
        quality=rng.uniform(0.5, 1, n_frames).astype(np.float32),
        flags=np.where(np.arange(n_frames) == 3, 1, 0).astype(np.int64),
        field=np.linspace(-1, 1, n_frames * 12, dtype=np.float32).reshape(n_frames, 2, 3, 2),
        b0=images[0],
        mean_image=images[1],
        correlation_image=images[2],
        notes={"seconds": {"shapes": 1.5}, "added": 1},
    )
