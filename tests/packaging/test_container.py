"""The Dockerfile without a builder: what it copies is there and enough, its lines parse, its command makes a video."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = [sys.executable, "-m", "uv"]

pytestmark = pytest.mark.skipif(not (ROOT / "Dockerfile").is_file(), reason="not in a clone")


def steps() -> list[tuple[str, str]]:
    """(instruction, the rest) of each step; comments left out, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.M).replace("\\\n", "")
    parts = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(word, rest) for word, rest in parts]


def of(instruction: str) -> list[str]:
    return [rest for word, rest in steps() if word == instruction]


def sources() -> list[str]:
    return [source for rest in of("COPY") for source in rest.split()[:-1]]


def ran(command: list[str | Path], **more) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_step_is_an_instruction_and_every_source_is_there() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in steps()} <= known
    assert [source for source in sources() if not (ROOT / source).exists()] == []
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert allowed == set(sources())


def test_the_shell_reads_every_run_line() -> None:
    for line in of("RUN"):
        ran(["sh", "-n", "-c", line])


def test_the_base_and_the_build_of_torch_are_arguments_that_uv_knows() -> None:
    arguments = dict(rest.split("=", 1) for rest in of("ARG"))
    assert of("FROM") == ["${BASE}"] and set(arguments) == {"BASE", "TORCH"}
    known = ran([*UV, "pip", "install", "--help"])
    comments = "\n".join(line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if line[:1] == "#")
    for value in (arguments["TORCH"], *re.findall(r"TORCH=(\w+)", comments)):
        assert re.search(rf"\b{value}\b", known), value
    pinned = next(word for line in of("RUN") for word in line.split() if word.startswith("uv=="))
    assert pinned in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.slow
def test_what_is_copied_makes_the_package_and_the_command_makes_a_video_in_a_bare_environment(tmp_path: Path) -> None:
    copied = tmp_path / "source"
    copied.mkdir()
    for source in sources():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, copied / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, copied)
    build = ["build", "--wheel", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    ran([*UV, *build, "--out-dir", tmp_path / "dist", copied])
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    ran([*UV, "venv", "--quiet", "--offline", "--python", sys.executable, tmp_path / "env"])
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")  # what the network would bring
    install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", tmp_path / "env" / "bin" / "python"]
    ran([*UV, *install, wheel])
    (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
    words = [*json.loads(entry), *json.loads(command)]
    assert words == ["floatbench", "demo"]
    work = tmp_path / "work"
    work.mkdir()
    bare = {
        "PATH": f"{tmp_path / 'env' / 'bin'}{os.pathsep}/usr/bin:/bin",
        "FLOATBENCH_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    said = ran([tmp_path / "env" / "bin" / words[0], *words[1:]], cwd=work, env=bare)
    assert (work / "demo.mp4").stat().st_size > 0 and "float-tiny" in said
    assert shlex.join(words) in (ROOT / "Dockerfile").read_text("utf-8").splitlines()[0]
