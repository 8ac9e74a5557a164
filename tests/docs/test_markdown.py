"""Every document renders: links lead somewhere, code is closed, and shown commands exist (tables: test_house.py)."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token

from floatbench.cli.app import _collect, app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
EACH = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """Names of the headings as the hosts of repositories make them."""
    found = tokens(document)
    titles = [found[k + 1].content for k, token in enumerate(found) if token.type == "heading_open"]
    words = (re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()) for title in titles)
    return {word.strip().replace(" ", "-") for word in words}


@EACH
def test_links_within_the_project_lead_somewhere(document: Path):
    broken = []
    for token in tokens(document):
        for child in token.children or []:
            target = child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
            if child.type not in ("link_open", "image") or not isinstance(target, str):
                continue
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (document.parent / name).resolve() if name else document
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                broken.append(target)
    assert not broken


@EACH
def test_code_is_closed_and_python_can_be_read(document: Path):
    text = document.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) % 2 == 0
    for token in tokens(document):
        if token.type == "fence" and token.info.strip() == "python":
            ast.parse(token.content.replace("...", "pass") if "\n..." in token.content else token.content)


def commands(document: Path) -> list[str]:
    """Lines of code blocks that call the program, without what a shell adds."""
    lines: list[str] = []
    for token in tokens(document):
        if token.type in ("fence", "code_block"):
            lines += re.sub(r"\\\n\s*", " ", token.content).splitlines()
    calls = (re.sub(r"^(\$ |[A-Z_]+=\S+ )+", "", line.strip()) for line in lines)
    return [re.split(r" [|&>#]+ | +# ", call)[0] for call in calls if call.startswith("floatbench ")]


def test_commands_are_found_in_code():
    assert len(commands(ROOT / "README.md")) > 5


@EACH
def test_shown_commands_and_their_options_exist(document: Path):
    _collect()
    wrong = []
    for line in commands(document):
        arguments = [word for word in shlex.split(line)[1:] if word != "..." and not word.startswith("[")]
        command = typer.main.get_command(app)
        context = command.make_context("floatbench", [], resilient_parsing=True)
        while arguments and hasattr(command, "commands") and arguments[0] in command.commands:  # type: ignore[attr-defined]
            command = command.commands[arguments.pop(0)]  # type: ignore[attr-defined]
            context = type(context)(command, parent=context, resilient_parsing=True)
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)}
        if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
            wrong.append(f"{line}: no command {arguments[0]!r}")
        elif given - known:
            wrong.append(f"{line}: no option {', '.join(sorted(given - known))}")
    assert not wrong
