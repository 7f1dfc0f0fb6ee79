"""Fit a decoder on the live traces of a session: what rules will see, so that it holds when they do."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.errors import ConfigError, StorageError
from streamscope.storage.aside import written_aside
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import SessionFolder
from streamscope.types import DoubleArray, IdArray, LongArray

BLOCKS = 5  # of the session, each predicted from the others
LEAST_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Decoder:
    """A linear or logistic decoder, and how well it does on blocks that it was not fitted on."""

    link: str  # linear, logistic
    bias: float
    cells: IdArray  # (K,)
    weights: DoubleArray  # (K,) per noise unit
    trace: str
    n_frames: int
    score: float  # logistic: area under the curve, 0.5 is chance; linear: R2, 0 is the mean

    def write(self, path: Path) -> None:
        """Write it as the .json that a rules file names."""
        values = {
            "link": self.link,
            "trace": self.trace,
            "bias": self.bias,
            "cells": self.cells.tolist(),
            "weights": self.weights.tolist(),
        }
        try:
            with written_aside(path) as aside:
                aside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}); give another with --out"
            ) from error


def fit_decoder(session: SessionFolder, labels: Path, trace: str = "c", strength: float = 1.0) -> Decoder:
    """Return a decoder of the labels from the live traces of the cells that are confirmed at the end.

    Parameters
    ----------
    session : SessionFolder
        Finished, or still running.
    labels : Path
        CSV with a column `frame` or `time_s`, and a column `label`. Two values make a logistic decoder, more a
        linear one.
    trace : str
        Which live trace: c, y, s, c_lag or s_lag, causal as rules see it.
    strength : float
        Of the ridge (L2) that keeps weights small; per frame, of traces with unit variance.

    Raises
    ------
    ConfigError
        If the labels make no sense, or scikit-learn is not installed.
    StorageError
        If the session cannot be read.
    """
    with JournalReader(session.journal, session.shape) as journal:
        frames, wanted = _labels(labels, journal.frames().time_s)
        ids = _confirmed(journal)
        X, known = _traces(journal, ids, trace, frames)
    X, y = X[known], wanted[known]
    if len(X) < LEAST_FRAMES or len(np.unique(y)) < 2:
        raise ConfigError(
            f"{labels} labels {len(X)} frames on which all {len(ids)} confirmed cells are known, with "
            f"{len(np.unique(y))} different values; expected at least {LEAST_FRAMES} and 2; label later frames, or "
            "freeze earlier"
        )
    logistic = len(np.unique(y)) == 2
    if logistic:
        y = (y == y.max()).astype(float)
    mean, sd = X.mean(0), X.std(0)
    sd[sd == 0] = np.inf  # a cell that shows nothing has no weight
    Z = (X - mean) / sd
    score = _score(Z, y, logistic, strength)
    weights, bias = _fit(Z, y, logistic, strength)
    return Decoder(
        "logistic" if logistic else "linear",
        float(bias - (weights * mean / sd).sum()),
        ids,
        weights / sd,
        trace,
        len(X),
        score,
    )


def _score(Z: DoubleArray, y: DoubleArray, logistic: bool, strength: float) -> float:
    """Return how well each block is predicted from the others; neighbouring frames are not independent."""
    from sklearn.metrics import r2_score, roc_auc_score

    told = np.full(len(y), np.nan)
    for block in np.array_split(np.arange(len(y)), BLOCKS):
        rest = np.setdiff1d(np.arange(len(y)), block)
        if len(np.unique(y[rest])) > 1:
            weights, bias = _fit(Z[rest], y[rest], logistic, strength)
            told[block] = Z[block] @ weights + bias
    seen = ~np.isnan(told)
    if len(np.unique(y[seen])) < 2:
        return float("nan")
    return float((roc_auc_score if logistic else r2_score)(y[seen], told[seen]))


def _fit(Z: DoubleArray, y: DoubleArray, logistic: bool, strength: float) -> tuple[DoubleArray, float]:
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
    except ImportError as error:
        raise ConfigError(
            "fitting a decoder needs scikit-learn: pip install 'streamscope[decoder]'"
        ) from error
    if logistic:
        model: Any = LogisticRegression(
            C=1 / (strength * 1e-2 * len(y)), class_weight="balanced", max_iter=2000
        )
        model.fit(Z, y.astype(int))
        return model.coef_[0].astype(float), float(model.intercept_[0])
    model = Ridge(alpha=strength * 1e-2 * len(y)).fit(Z, y)
    return model.coef_.astype(float), float(model.intercept_)


def _labels(path: Path, time_s: DoubleArray) -> tuple[LongArray, DoubleArray]:
    """Return the frames that are labelled, rising and each once, and their labels."""
    wanted = "expected a CSV with a column frame (or time_s) and a column label, numbers both"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        labels = np.array([float(row["label"]) for row in rows])
        if rows and "frame" in rows[0]:
            frames = np.array([int(row["frame"]) for row in rows], np.int64)
        else:
            frames = np.searchsorted(time_s, [float(row["time_s"]) for row in rows]).astype(np.int64)
    except OSError as error:
        raise ConfigError(f"the labels {path} cannot be read ({error.strerror}); {wanted}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"the labels {path} are not readable ({error}); {wanted}") from error
    good = (frames >= 0) & (frames < len(time_s)) & np.isfinite(labels)
    at, first = np.unique(frames[good], return_index=True)
    return at, labels[good][first]


def _confirmed(journal: JournalReader) -> IdArray:
    last = journal.last_epoch()
    ids = np.zeros(0, np.uint32) if last is None else np.asarray(last["ids"], np.uint32)[last["status"] == 1]
    if not len(ids):
        raise ConfigError("the session has no confirmed cell yet, expected some; let it learn for longer")
    return ids


def _traces(
    journal: JournalReader, ids: IdArray, trace: str, frames: Sequence[int] | LongArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return the values of the cells on these frames as they were seen live, (n, K), and where all are known."""
    X = np.full((len(frames), len(ids)), np.nan)
    place = {int(frame): row for row, frame in enumerate(frames)}
    columns: LongArray = np.zeros(0, np.int64)
    seen: IdArray = np.zeros(0, np.uint32)
    for result, _ in journal.results():
        row = place.get(result.index)
        if row is None:
            continue
        if not np.array_equal(result.ids, seen):
            seen = result.ids
            at = {int(i): k for k, i in enumerate(seen)}
            columns = np.array([at.get(int(i), -1) for i in ids], np.int64)
        values = getattr(result, trace).astype(np.float64)
        X[row, columns >= 0] = values[columns[columns >= 0]]
    return X, np.isfinite(X).all(axis=1)
