"""`--config`, a TOML file of options, and `--show-config`, which says where each value came from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from floatbench.cli.command import Command
from floatbench.cli.output import Output
from floatbench.errors import UsageError
from floatbench.text import near

ORIGINS = {
    "COMMANDLINE": "command line",
    "ENVIRONMENT": "environment",
    "DEFAULT_MAP": "run file",
    "DEFAULT": "default",
}


def _load(context: typer.Context, value: str | None) -> str | None:
    """Reads a run file into the command's defaults, below the command line and the environment."""
    if value is None or context.resilient_parsing:
        return value
    try:
        content = tomllib.loads(Path(value).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{value}: {error}", fix="give --config a TOML file of options") from None
    context.default_map = _defaults(context, value, content)
    return value


def _defaults(context: typer.Context, path: str, content: dict[str, Any]) -> dict[str, Any]:
    """The file's values under the names of the options; dashes and old names are understood."""
    command = context.command
    names = {alias: name for name, alias in command.aliases.items()} if isinstance(command, Command) else {}
    options: dict[str, Any] = {parameter.name: parameter for parameter in command.params}
    defaults = {}
    for key, setting in content.items():
        name = key.replace("-", "_")
        name = names.get(name, name)
        if name not in options:
            raise UsageError(
                f"{path}: unknown option {key!r}", fix=near(name, options, f"{context.command_path} --help")
            )
        if name in defaults:
            raise UsageError(f"{path}: the option {name!r} is given twice", fix=f"delete {key!r}")
        if getattr(options[name], "multiple", False):
            defaults[name] = setting if isinstance(setting, list) else [setting]
        else:
            defaults[name] = ",".join(map(str, setting)) if isinstance(setting, list) else setting
    return defaults


ConfigOption = Annotated[
    str | None, typer.Option("--config", is_eager=True, callback=_load, help="TOML file of options for this command.")
]
ShowConfigOption = Annotated[
    bool, typer.Option("--show-config", help="Print each option's value and origin, do nothing.")
]


def show_config(context: typer.Context, output: Output) -> None:
    """Every option with its value and where it came from: command line, environment, run file or default."""
    rows = {}
    for name, value in sorted(context.params.items()):
        source = context.get_parameter_source(name)
        shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        rows[name] = {"value": shown, "origin": ORIGINS[source.name if source else "DEFAULT"]}
    output.result(rows, "\n".join(f"{name} = {row['value']!r}  ({row['origin']})" for name, row in rows.items()))
