"""Epoch: the immutable, numbered model that the learner hands to inference at a frame boundary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.background import SparseRows
from streamscope.types import (
    ByteArray,
    ComponentEvent,
    FloatArray,
    Footprints,
    IdArray,
    Kinetics,
    LongArray,
    SeedReport,
)

PROVISIONAL, CONFIRMED = 0, 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """What inference needs to turn an aligned frame into traces.

    With F = A' - V D, the signed traces solve M c = F (y - b0), M = A'A - V D A. M is solved once per epoch.
    """

    number: int
    frame: int  # learned from the frames up to and including this one
    ids: IdArray  # (K,)
    status: ByteArray  # (K,) PROVISIONAL or CONFIRMED
    born_at: LongArray  # (K,) frame
    snr: FloatArray  # (K,) largest peak so far, sn units
    footprints: Footprints  # A, unit L2 norm
    V: SparseRows  # ring background seen by each footprint, on blocks of `step` px
    step: int
    solve: SparseRows  # inverse of M near each component, K rows of K
    b0: FloatArray  # (H, W) static background, ADU
    sn: FloatArray  # (K,) noise of the signed traces, ADU; frozen for each id
    kinetics: Kinetics  # of the indicator, given or fitted
    events: tuple[ComponentEvent, ...] = ()
    seeding: SeedReport | None = None  # in the epoch in which it was decided

    @property
    def n(self) -> int:
        """Return the number of components."""
        return len(self.ids)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that is needed to infer again, as plain arrays."""
        return {
            "number": np.array([self.number, self.frame, self.step, self.V.n_bins], np.int64),
            "shape": np.array(self.footprints.shape, np.int64),
            "ids": self.ids,
            "status": self.status,
            "born_at": self.born_at,
            "snr": self.snr,
            "sn": self.sn,
            "kinetics": self.kinetics.array(),
            "A_indptr": self.footprints.indptr,
            "A_pixels": self.footprints.pixels,
            "A_weights": self.footprints.weights,
            "V_indptr": self.V.indptr,
            "V_bins": self.V.bins,
            "V_values": self.V.values,
            "solve_indptr": self.solve.indptr,
            "solve_at": self.solve.bins,
            "solve_values": self.solve.values,
            "b0_64ths": np.clip(np.round(self.b0 * 64), -32768, 32767).astype(np.int16),  # exact: see Model
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Epoch:
        """Return the epoch that `arrays` was called on, without its events and seeding."""
        number, frame, step, n_bins = (int(v) for v in arrays["number"])
        height, width = (int(v) for v in arrays["shape"])
        return cls(
            number=number,
            frame=frame,
            ids=np.asarray(arrays["ids"], np.uint32),
            status=np.asarray(arrays["status"], np.uint8),
            born_at=np.asarray(arrays["born_at"], np.int64),
            snr=np.asarray(arrays["snr"], np.float32),
            footprints=Footprints(
                (height, width),
                np.asarray(arrays["A_indptr"], np.int64),
                np.asarray(arrays["A_pixels"], np.int32),
                np.asarray(arrays["A_weights"], np.float32),
            ),
            V=SparseRows(
                n_bins,
                np.asarray(arrays["V_indptr"], np.int64),
                np.asarray(arrays["V_bins"], np.int32),
                np.asarray(arrays["V_values"], np.float32),
            ),
            step=step,
            solve=SparseRows(
                len(arrays["ids"]),
                np.asarray(arrays["solve_indptr"], np.int64),
                np.asarray(arrays["solve_at"], np.int32),
                np.asarray(arrays["solve_values"], np.float32),
            ),
            b0=np.asarray(arrays["b0_64ths"], np.float32) / np.float32(64),
            sn=np.asarray(arrays["sn"], np.float32),
            kinetics=Kinetics.from_array(arrays["kinetics"]),
        )
