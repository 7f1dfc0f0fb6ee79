"""`streamscope config`: the resolved settings with units and ranges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from streamscope.config import SessionConfig, Settings

UNITS = ("s", "px", "um", "Hz", "frames", "cell diameters", "noise units")
SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is shown."""

    table: str  # "" for the settings that belong to no table
    name: str
    value: Any
    unit: str
    range: str
    description: str


def config(
    config: Annotated[
        Path | None, typer.Option(help="Settings file to start from.", show_default=False)
    ] = None,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print a file to start from instead of a table.")
    ] = False,
) -> None:
    """Show every setting with its value, unit, range and meaning.

    Example: streamscope config --toml > session.toml
    """
    from streamscope.config import from_toml

    settings = list(settings_of(from_toml(config)))
    if toml:
        typer.echo("\n".join(_toml_lines(settings)))
    else:
        _show(settings)


def settings_of(config: SessionConfig | Settings, table: str = "") -> Iterator[Setting]:
    """Yield every setting of a configuration, those of tables last."""
    from streamscope.config import Settings

    fields = type(config).model_fields
    for name, info in fields.items():
        value = getattr(config, name)
        if not isinstance(value, Settings):
            text, unit = _split_unit(info.description or "")
            yield Setting(table, name, value, unit, _range(info), text)
    for name in fields:
        inner = getattr(config, name)
        if isinstance(inner, Settings):
            yield from settings_of(inner, name)


def _range(info: FieldInfo) -> str:
    limits = {key: getattr(rule, key) for rule in info.metadata for key, _ in SIGNS if hasattr(rule, key)}
    return " ".join(f"{sign} {limits[key]:g}" for key, sign in SIGNS if key in limits)


def _split_unit(description: str) -> tuple[str, str]:
    text, comma, last = description.rpartition(", ")
    return (text, last) if comma and last in UNITS else (description, "")


def _show(settings: list[Setting]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("setting", "value", "range", "meaning"):
        table.add_column(header, no_wrap=header == "setting")
    for setting in settings:
        name = f"{setting.table}.{setting.name}" if setting.table else setting.name
        value = "-" if setting.value is None else f"{setting.value} {setting.unit}".rstrip()
        table.add_row(name, value, setting.range, setting.description)
    Console(highlight=False).print(table, markup=False)


def _toml_lines(settings: list[Setting]) -> Iterator[str]:
    """Yield a TOML file that says nothing but the defaults; settings without a value are commented out."""
    yield "# Settings of StreamScope; any line may be left out. Use: streamscope replay SOURCE --config FILE"
    table = ""
    for setting in settings:
        if setting.table != table:
            table = setting.table
            yield f"\n[{table}]"
        about = ", ".join(part for part in (setting.description, setting.unit, setting.range) if part)
        yield f"# {about}"
        yield (
            f"# {setting.name} ="
            if setting.value is None
            else f"{setting.name} = {json.dumps(setting.value)}"
        )
