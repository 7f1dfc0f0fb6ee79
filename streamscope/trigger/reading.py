"""Reading a rules file, with the masks and decoders that it names, so that nothing else decides."""

from __future__ import annotations

import csv
import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import BaseModel, ValidationError

from streamscope.errors import ConfigError
from streamscope.trigger import settings
from streamscope.trigger.settings import Control, Rules

YokedTimes: TypeAlias = Callable[[Path, str], tuple[float, ...]]  # of a session's rule: times since arming, s
MOST_BYTES = 1 << 20
HELP = "see docs/howto/closed-loop.md"


def read_rules(path: Path, yoked: YokedTimes | None = None) -> Rules:
    """Return the rules of a TOML file, with the content of the files that it names.

    Parameters
    ----------
    path : Path
        The rules file; names in it are relative to its folder.
    yoked : callable, optional
        Gives the times of another session's pulses; without it, no rule may be yoked.

    Raises
    ------
    ConfigError
        If a file cannot be read, a key is unknown, or a value is impossible: where, and what was expected.
    """
    return _filled(checked(_toml(path), path.name), path.parent, yoked)


def checked(values: Mapping[str, Any], where: str) -> Rules:
    """Return rules made of plain values, or raise ConfigError with the first thing that is wrong."""
    try:
        return Rules.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_sentence(error, where)) from error


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is longer than a rules file may be (1 MB); is it one? {HELP}")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the rules file {path} cannot be read ({error.strerror}); check --rules"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error}); correct that line, or {HELP}") from error


def _filled(rules: Rules, folder: Path, yoked: YokedTimes | None) -> Rules:
    signals = {name: _signal(name, signal, folder) for name, signal in rules.signals.items()}
    all_rules = {
        name: rule.model_copy(update={"control": _control(name, rule.control, folder, yoked)})
        for name, rule in rules.rules.items()
    }
    return rules.model_copy(update={"signals": signals, "rules": all_rules})


def _signal(name: str, signal: settings.Signal, folder: Path) -> settings.Signal:
    if isinstance(signal, settings.CellSignal) and signal.mask is not None:
        return signal.model_copy(update={"mask_pixels": _mask(name, folder / signal.mask)})
    if isinstance(signal, settings.DecoderSignal) and signal.file is not None:
        path = folder / signal.file
        given = signal.model_dump(exclude_unset=True) | _decoder(name, path)
        try:
            return settings.DecoderSignal.model_validate(given)
        except ValidationError as error:
            raise ConfigError(_sentence(error, path.name)) from error
    return signal


def _control(name: str, control: Control, folder: Path, yoked: YokedTimes | None) -> Control:
    if control.session is None:
        return control
    if yoked is None:
        raise ConfigError(f"rule {name} is yoked to {control.session}, which cannot be read here")
    return control.model_copy(update={"times_s": yoked(folder / control.session, control.rule or name)})


def _mask(name: str, path: Path) -> tuple[int, ...]:
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the mask of {name}, {path}, cannot be read ({error}); expected a boolean .npy"
        ) from error
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype != np.bool_ or not mask.any():
        raise ConfigError(
            f"the mask of {name}, {path}, should be a boolean array (H, W) with some pixels in it"
        )
    return tuple(np.flatnonzero(mask).tolist())


def _decoder(name: str, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("longer than 1 MB")
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("no JSON object")
            return values
        rows = [row for row in csv.reader(text.splitlines()) if row]
        weights = {cell.strip(): float(weight) for cell, weight in rows[1:]}
        bias = weights.pop("bias", 0.0)
        return {"bias": bias, "cells": list(map(int, weights)), "weights": list(weights.values())}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the decoder of {name}, {path}, cannot be read ({error}); expected .json with cells, weights, bias and "
            "link, or .csv with the columns cell and weight"
        ) from error


def _sentence(error: ValidationError, where: str) -> str:
    errors = error.errors()
    first = next(
        (e for e in errors if e["type"] == "extra_forbidden"), errors[0]
    )  # a slip explains what is missing
    # pydantic names the member of a union that it tried; readers of the file do not know it
    name = ".".join(str(part) for part in first["loc"] if str(part) not in _KINDS)
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    at = f"{where}: {name}" if name else where
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(first["loc"][-1]), _fields(), 1, cutoff=0.5)
        meant = f"; did you mean {close[0]}?" if close else ";"
        return f"{at} is not a setting{meant} {HELP}"
    if first["type"] in ("value_error", "missing", "union_tag_not_found"):
        return f"{at}: {message}; {HELP}"
    return f"{at} is {first['input']!r:.60}, but it {message}; {HELP}"


def _fields() -> list[str]:
    models = [m for m in vars(settings).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    return sorted({name for model in models for name in model.model_fields})


_KINDS = {"cell", "ensemble", "decoder", "rate", "orientation", "motion", "mark"} | {
    *("above", "below", "rise", "sequence", "schedule", "when", "function-after[_rising(), tuple]"),
}
