"""`csv:FILE`: every decision as a line of a text file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from streamscope.clock import clock_ns
from streamscope.errors import ConfigError
from streamscope.types import Decision, Output, OutputReport
from streamscope_drivers.outputs.account import plain
from streamscope_drivers.outputs.worker import Worker

COLUMNS = (
    *(
        "number",
        "rule",
        "frame",
        "time_s",
        "outcome",
        "reason",
        "control",
        "width_ms",
        "value",
        "inputs",
        "outputs",
    ),
    *("rule_hash", "seed", "t_capture_ns", "t_decision_ns", "t_written_ns"),
)


class CsvFile(Worker):
    """Writes decisions into a file that is new."""

    def __init__(self, spec: str, name: str, tell: Callable[[OutputReport], None], file: TextIO) -> None:
        super().__init__(spec, name, tell)
        self._file = file
        self._writer = csv.writer(file)
        self._writer.writerow(COLUMNS)
        file.flush()

    def _put(self, decision: Decision) -> None:
        values = plain(decision) | {"t_written_ns": clock_ns()}
        values["inputs"] = json.dumps(values["inputs"])
        values["outputs"] = " ".join(values["outputs"])
        self._writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])

    def _pause(self) -> None:
        self._file.flush()

    def _end(self) -> None:
        self._file.close()


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return the file in `csv:FILE`, new and open.

    Raises
    ------
    ConfigError
        If there is a file already, or none can be made.
    """
    path = spec.partition(":")[2]
    if not path:
        raise ConfigError(f"{spec!r} names no file, expected csv:FILE, e.g. csv:decisions.csv")
    try:
        file = Path(path).expanduser().open("x", encoding="utf-8", newline="")
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already, and is not written over; name another file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); name another file") from error
    output = CsvFile(spec, name, tell, file)
    output.start()
    return output
