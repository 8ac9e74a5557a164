"""Help fits a narrow terminal: options in groups, two examples a command, the environment's rule said once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from floatbench.cli import help as texts
from floatbench.cli.app import _collect, app

WIDTH = 80


def program() -> Any:
    _collect()
    return typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, found in command.commands.items():
            yield from leaves(found, (*path, name))
    else:
        yield " ".join(path), command


def shown(path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", WIDTH)
    _collect()  # a test may be the first of its process
    app(args=[*path.split(), "--help"], prog_name="floatbench", standalone_mode=False)
    return capsys.readouterr().out


def test_every_command_has_two_examples_and_no_other_has():
    assert {path for path, _ in leaves(program())} == set(texts.EXAMPLES) - {""}
    assert all(len(set(lines)) == 2 for lines in texts.EXAMPLES.values())


@pytest.mark.parametrize("path", sorted(texts.EXAMPLES))
def test_examples_can_be_typed(path: str):
    known = dict(leaves(program()))
    for line in texts.EXAMPLES[path]:
        assert len(line) <= WIDTH - 4
        words = shlex.split(line)[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert path in ("", name)
        parser = known[name].make_parser(typer.Context(known[name]))
        _, rest, _ = parser.parse_args(args=words[len(name.split()) :])
        assert not [word for word in rest if word.startswith("-")]


@pytest.mark.parametrize("path", sorted(texts.EXAMPLES))
def test_help_fits_eighty_columns_without_the_environments_column(path: str, capsys, monkeypatch):
    text = shown(path, capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text and "env var" not in text
    assert text.count("FLOATBENCH_RUN_SKIP_UNAVAILABLE") == 1


@pytest.mark.parametrize("path", ["report", "run", "generate", "train flow"])
def test_types_and_switches_leave_the_texts_their_room(path: str, capsys, monkeypatch):
    lines = shown(path, capsys, monkeypatch).splitlines()
    panel = lines.index(next(line for line in lines if line.startswith("╭─ Options ")))
    inside = lines[panel + 1 : next(at for at, line in enumerate(lines) if at > panel and line.startswith("╰"))]
    texts_begin = {re.search(r"\S", line[3:]).start() + 3 for line in inside if not line[3:30].strip()}
    assert len(texts_begin) == 1 and texts_begin.pop() <= 45
    assert not any("<" in line and ">" in line and "--" in line for line in inside if "<=" not in line)


def test_commands_are_shown_in_groups_and_each_is_in_one(capsys, monkeypatch):
    text = shown("", capsys, monkeypatch)
    places = [text.index(f" {panel} ─") for panel in texts.COMMAND_PANELS]
    assert places == sorted(places) and " Commands ─" not in text
    named = [name for names in texts.COMMAND_PANELS.values() for name in names]
    assert len(named) == len(set(named)) and set(program().commands) <= set(named)


def test_options_that_every_command_has_come_last(capsys, monkeypatch):
    text = shown("run", capsys, monkeypatch)
    assert text.index("--protocol") < text.index(" Machine ") < text.index("--workers") < text.index(" Every command ")
    assert text.index(" Every command ") < text.index("--json") < text.index("--help")
