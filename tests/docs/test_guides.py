"""The tutorial, the how-to guides and the examples do what they say: their code is run as a reader would run it.

Blocks of `sh` and `python` are run in order, in one folder; those of `console` need downloads or a cluster, and only
their commands are looked at (test_markdown.py).
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from floatbench.cli.app import main
from floatbench.media import Mp4Writer, write_wav
from floatbench.synthetic.clip import SyntheticClip

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted([*(ROOT / "docs/tutorials").glob("*.md"), *(ROOT / "docs/how-to").glob("*.md")])
NEED_DATA = {"train-float"}
"""Guides whose every command needs data that is not here."""
LONG = {"evaluate-your-method", "extend", "first-table", "run-on-a-cluster"}
"""Guides that take half a minute each."""
PEOPLE = range(90000, 90003)


def write_video(path: Path, clip: SyntheticClip, sound: bool = True, crf: float = 18) -> None:
    path.parent.mkdir(exist_ok=True)
    media = clip.media(128)
    with Mp4Writer(path, 128, 128, media.audio if sound else None, crf=crf) as writer:
        for frame in media.frames:
            writer.write(frame)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has: real videos, those of two systems, a portrait and a sound, and the examples."""
    folder = tmp_path_factory.mktemp("material")
    for person in PEOPLE:
        clip = SyntheticClip(person, seconds=1.2)
        write_video(folder / "real" / f"talk{person}.mp4", clip)
        write_video(folder / "mine" / f"talk{person}.mp4", clip, sound=False, crf=36)
        write_video(folder / "other" / f"talk{person}.mp4", clip, sound=False, crf=48)
    clip = SyntheticClip(90004, seconds=1.0)
    for name, size in (("face.png", 128),):
        Image.fromarray(clip.frames(size, every=25)[0]).save(folder / name)
    write_wav(folder / "speech.wav", clip.audio())
    for example in (ROOT / "examples").iterdir():
        if example.is_file():
            shutil.copy(example, folder)
    return folder


@pytest.fixture
def place(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the material as the working folder, with `floatbench` on the path."""
    place = tmp_path / "reader"
    shutil.copytree(material, place)
    program = tmp_path / "bin" / "floatbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m floatbench "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for command in ("RUN", "SCORE"):  # a worker process of three clips costs more than it saves
        monkeypatch.setenv(f"FLOATBENCH_{command}_WORKERS", "0")
    monkeypatch.chdir(place)
    return place


def blocks(guide: Path) -> list[tuple[str, str]]:
    parsed = MarkdownIt("commonmark").enable("table").parse(guide.read_text(encoding="utf-8"))
    return [(token.info.strip(), token.content) for token in parsed if token.type == "fence"]


def type_in(line: str, place: Path) -> None:
    """Runs a line: a call of the program in this process, which spares its imports, anything else in a shell."""
    if line.startswith("floatbench "):
        with pytest.raises(SystemExit) as done:
            main(shlex.split(line)[1:])
        assert done.value.code == 0, line
        return
    ran = subprocess.run(["bash", "-e", "-c", line], cwd=place, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize(
    "guide", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in GUIDES]
)
def test_a_guide_does_what_it_says(guide: Path, place: Path):
    names: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for language, code in blocks(guide):
        if language == "sh":
            for line in code.replace("\\\n", " ").strip().splitlines():
                type_in(line, place)
        elif language == "python":
            exec(compile(ast.parse(code), str(guide), "exec"), names)
        ran += language in ("sh", "python")
    assert bool(ran) == (guide.stem not in NEED_DATA)


def test_the_notebook_shows_its_table_and_its_clips(place: Path):
    cells = json.loads((place / "evaluate.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    shown: list[object] = []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [] and cell["execution_count"] is None, "outputs are not committed"
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    table, scores, pivot = shown[:3]
    assert "Ours" in repr(table) and "frozen" in repr(table)
    assert "efid-tiny" in str(scores) and str(pivot).count("talk") == len(PEOPLE)
    assert str(names["html"]).count("<video") == 2


def test_every_example_is_in_a_guide():
    text = "".join(guide.read_text(encoding="utf-8") for guide in [*GUIDES, ROOT / "README.md"])
    assert not [file.name for file in (ROOT / "examples").iterdir() if file.is_file() and file.name not in text]
