"""What holds for every command: its three options, its names in the environment, and that prescribed ones exist."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import floatbench
from floatbench import doctor
from floatbench.cli import app as program
from floatbench.cli.app import main
from floatbench.cli.command import Command, option_name

PACKAGE = Path(floatbench.__file__).parent


@cache
def everything() -> dict[str, Any]:
    """Every command and group of the program by the words that call it."""
    program._collect()
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        found[" ".join(words)] = command
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*words, name))

    walk(typer.main.get_command(program.app), ("floatbench",))
    return found


COMMANDS = {name: command for name, command in everything().items() if isinstance(command, Command)}
OPTIONS = [
    (name, option) for name, command in COMMANDS.items() for option in command.params if option.opts[0][0] == "-"
]


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(str(stopped.value.code)), out, err


def test_only_groups_are_not_made_by_the_one_class_of_commands():
    assert all(isinstance(command, Command) or command.commands for command in everything().values())
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_three_options_and_shows_them(name: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, *name.split()[1:], "--help")
    assert code == 0
    for option in ("--json", "--offline", "--quiet", "-q"):
        assert option in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_of_any_command_is_one_json_document_and_exit_code_2(
    name: str, capsys: pytest.CaptureFixture[str]
):
    code, out, err = call(capsys, *name.split()[1:], "--no-such-option", "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 2
    assert "--no-such-option" in document["error"] and document["fix"] == f"{name} --help"
    assert err.startswith("error: ")


def test_a_value_that_looks_like_the_option_does_not_ask_for_json(capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, "leaderboard", "submit", "nowhere", "--method", "--json", "--nosuch")
    assert code == 2 and out == ""


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_an_environment_variable_is_named_as_its_option_and_the_old_name_still_holds(
    name: str, option: Any, monkeypatch: pytest.MonkeyPatch
):
    command = COMMANDS[name]
    longest = max(option.opts, key=len)
    assert option.name == option_name(option) == longest[2:].replace("-", "_")
    prefix = "_".join(name.split()).upper().replace("-", "_")
    names = [option.name, *([command.aliases[option.name]] if option.name in command.aliases else [])]
    for spelled in names:
        with monkeypatch.context() as patch:
            patch.setenv(f"{prefix}_{spelled.upper()}", "1")
            context = typer.Context(command, info_name=name, auto_envvar_prefix=prefix, resilient_parsing=True)
            command.parse_args(context, [])
            assert context.get_parameter_source(option.name).name == "ENVIRONMENT", spelled


def test_the_names_that_differed_are_aliases():
    renamed = {(name.partition(" ")[2], new, old) for name, c in COMMANDS.items() for new, old in c.aliases.items()}
    assert {triple for triple in renamed if triple[1] != "json"} == {
        ("generate", "compile", "compile_"),
        ("report", "format", "style"),
        ("compare", "format", "style"),
        ("protocol fetch", "from", "source"),
        ("weights fetch", "all", "everything"),
        ("weights fetch", "for", "for_"),
        ("weights fabricate", "all", "everything"),
    }
    assert ("run", "json", "json_output") in renamed


def test_json_is_asked_for_in_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOATBENCH_RUN_JSON", "1")
    code, out, _ = call(capsys, "run", "--protocol", "nosuch")
    assert code == json.loads(out)["exit_code"] == 2
    monkeypatch.setenv("FLOATBENCH_RUN_JSON", "0")
    assert call(capsys, "run", "--protocol", "nosuch")[1] == ""


def test_offline_and_quiet_are_asked_for_in_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLOATBENCH_DOCTOR_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "offline (FLOATBENCH_OFFLINE" in call(capsys, "doctor")[1]
    monkeypatch.setenv("FLOATBENCH_DOCTOR_QUIET", "1")
    assert "downloads" not in call(capsys, "doctor")[1]


def test_the_offline_switch_ends_with_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    from floatbench import paths

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert call(capsys, "cache", "path", "--offline")[0] == 0
    assert not paths.offline()


def test_an_error_after_the_document_adds_no_second_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from floatbench.cli.output import Output

    output = Output(json=True)
    output.document({"found": 1})
    output.error("too little", "try again", 1)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"found": 1} and err == "error: too little\nfix: try again\n"


def test_the_version_of_an_image_in_the_environment_is_no_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLOATBENCH_VERSION", "1.2.3")
    assert call(capsys, "cache", "path")[0] == 0


# --- commands that are prescribed --------------------------------------------------------------------------------

HOLE = "HOLE"


def prescribed(text: str) -> Iterator[list[str]]:
    """The words of each `floatbench ...` in a text that prescribes commands, after the program's name."""
    for found in re.finditer(r"(?:^|&& |: |\(|`)floatbench ([^&;(),`\n]+)", text):
        words = found[1].split()
        if words[0] in {name.split()[1] for name in everything() if " " in name} or found.start() == 0:
            yield [word.rstrip(".,") for word in words]


def complaint(words: list[str]) -> str:
    """What is wrong with a prescribed command; empty when it exists with all its options."""
    known, called = everything(), "floatbench"
    rest = list(words)
    while hasattr(known[called], "commands"):
        if not rest or HOLE in rest[0] or "|" in rest[0]:
            return ""  # what stands there is filled in later
        called += f" {rest.pop(0)}"
        if called not in known:
            return f"there is no command {called!r}"
    options = {text for option in known[called].params for text in (*option.opts, *option.secondary_opts)} | {"--help"}
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in options:
            return f"{called} has no option {word}"
    return ""


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a module, f-strings with a word for each hole; docstrings are prose and left out."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | prose):
            yield node.value


def test_every_command_that_a_message_prescribes_exists_with_its_options():
    wrong, seen = [], 0
    for file in sorted(PACKAGE.rglob("*.py")):
        for text in texts(ast.parse(file.read_text("utf-8"))):
            for words in prescribed(text):
                seen += 1
                if found := complaint(words):
                    wrong.append(f"{file.relative_to(PACKAGE)}: {found}")
    assert wrong == []
    assert seen > 40


def test_the_search_for_wrong_commands_finds_them():
    assert complaint(["baseline", "nosuch"]) and complaint(["weights", "fetch", "NAME", "--nosuch"])
    assert not complaint(["weights", "fetch", "NAME", "--force"]) and not complaint(["weights", HOLE, "NAME"])
    assert list(prescribed("free space (floatbench cache gc), or more")) == [["cache", "gc"]]
    assert list(texts(ast.parse("'''prose'''\nx = f'floatbench run {y}'"))) == [f"floatbench run {HOLE}"]


def test_every_command_that_the_doctor_prescribes_exists():
    fixes = [found.fix for found in doctor.examine() if found.fix]
    commands = [words for fix in fixes for words in prescribed(fix)]
    assert len(commands) > 10
    assert [found for words in commands if (found := complaint(words))] == []


def test_the_cache_counts_and_sweeps_features_and_scores(capsys: pytest.CaptureFixture[str]):
    from floatbench import paths

    for name in ("features/aa/x.safetensors", "scores/bb/y.json"):
        file = paths.cache_dir() / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    (paths.cache_dir() / "features/aa/half.part").write_bytes(b"1")

    def typed(*words: str) -> dict:
        with pytest.raises(SystemExit) as done:
            main(["cache", *words, "--json"])
        assert done.value.code == 0
        return json.loads(capsys.readouterr().out)

    one = {"files": 1, "bytes": 5}
    assert typed("ls") == {"features": one, "scores": one}
    assert typed("gc", "--keep-days", "1") == {"removed": {"files": 0, "bytes": 0}}
    assert typed("gc", "--keep-days", "0") == {"removed": {"files": 2, "bytes": 10}}
    assert (paths.cache_dir() / "features/aa/half.part").exists()
