"""What is built and installed: one import name, all data inside, and the same commands work however it got there."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import floatbench

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
SHIPPED = ("baselines", "protocols", "results")
UV = [sys.executable, "-m", "uv"]
BUILD = [*UV, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
MAX_WHEEL = 30_000_000

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not in a clone")


def ran(command: list[str | Path], **more) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("dist")
    ran([*BUILD, "--out-dir", folder, ROOT])
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def interpreter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An environment that has floatbench in one of three ways, and everything else from the one of the tests."""
    folder = tmp_path_factory.mktemp(request.param)
    ran([*UV, "venv", "--quiet", "--offline", "--python", sys.executable, folder])
    python = folder / "bin" / "python"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # a folder that a .pth file names is searched, its own .pth files are not read: no editable install shines through
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [*UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", python]
    if request.param == "wheel":
        ran([*install, request.getfixturevalue("wheel")])
    elif request.param == "editable":
        ran([*install, "--editable", ROOT])
    return request.param, python


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all: the clips of the synthetic protocol are rendered once."""
    return tmp_path_factory.mktemp("shared-home")


def somebodys(folder: Path) -> Path:
    """A working folder of another project with our names in it, and a method of its own."""
    (folder / "metrics.py").write_text("SHADE = 99\n")
    for name in ("protocols", "baselines", "results", "tests"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    (folder / "protocols" / "synthetic.toml").write_text("not = 'a protocol'\n")
    (folder / "baselines" / "driverlib.py").write_text("raise RuntimeError('not ours')\n")
    (folder / "results" / "leaderboard.csv").write_text("not,a,leaderboard\n")
    (folder / "floatbench.toml").write_text("[tool]\nnot = 'ours'\n")
    (folder / "mine.py").write_text(
        "import numpy as np\n"
        "from metrics import SHADE\n"
        "from floatbench.methods.method import Generated, Method\n"
        "from floatbench.types import ClipMedia\n\n"
        "class Mine(Method):\n"
        "    name = 'mine'\n\n"
        "    def generate(self, request):\n"
        "        frames = np.full((request.n_frames, *request.source.shape), SHADE, np.uint8)\n"
        "        frames[:, 0, 0] = np.arange(request.n_frames)[:, None]\n"
        "        return Generated(media=ClipMedia(frames, request.audio))\n\n"
        "METHODS = {'mine': Mine}\n"
    )
    return folder


def environment(way: str, home: Path, here: bool) -> dict[str, str]:
    """Variables for a run in somebody's folder, with or without that folder on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOATBENCH_", "PYTHON"))}
    places = [str(ROOT)] if way == "clone" else []
    return kept | {
        "PYTHONPATH": os.pathsep.join([*places, "."] if here else places), "FLOATBENCH_HOME": str(home),
        "FLOATBENCH_OFFLINE": "1", "FLOATBENCH_PLUGINS": "mine", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


EVERY = [(way, here) for way in ("wheel", "editable", "clone") for here in (False, True)]
ALWAYS = [("wheel", False), ("editable", True)]


@pytest.mark.parametrize(
    ("interpreter", "here"),
    [pytest.param(*case, marks=[] if case in ALWAYS else pytest.mark.slow) for case in EVERY],
    indirect=["interpreter"],
)
def test_the_commands_work_in_a_folder_that_holds_our_names(interpreter, tmp_path, home, here):
    """With a plugin of that folder, in worker processes too; `here`: with `PYTHONPATH=.`."""
    way, python = interpreter
    folder = somebodys(tmp_path)
    options = ["--methods", "mine", "--no-controls", "--quiet", "--workers", "0" if here else "1", "--device", "cpu"]
    variables = environment(way, home, here)
    done = json.loads(ran([python, SMOKE, folder / "run", *options], cwd=folder, env=variables))
    failed = {command: output for command, (code, output) in done.items() if code != 0}
    assert not failed
    assert len(done) > 40 and all("Usage:" in done[command][1] for command in done if command.endswith("--help"))
    assert floatbench.__version__ in done["--version"][1]
    assert "hdtf-78-v1" in done["protocol list"][1] and "sadtalker" in done["baseline list"][1]
    assert "| mine |" in done["run"][1]
    assert "Hallo" in done["report"][1] and "mine" in done["report"][1]
    assert "beside the paper" in done["ledger"][1]


@pytest.mark.parametrize("interpreter", ["wheel", "editable", "clone"], indirect=True)
def test_the_program_and_the_module_start_in_a_folder_that_holds_our_names(interpreter, tmp_path, home):
    way, python = interpreter
    folder = somebodys(tmp_path)
    (folder / "pydantic.py").write_text("raise RuntimeError('not a library')\n")
    for start in [[python, "-m", "floatbench"]] + ([] if way == "clone" else [[python.with_name("floatbench")]]):
        assert "hdtf-78-v1" in ran([*start, "protocol", "list"], cwd=folder, env=environment(way, home, False))


def test_the_wheel_has_one_name_no_tests_and_all_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        package = archive.read(f"floatbench-{floatbench.__version__}.dist-info/METADATA").decode()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"floatbench"}
    protocols = {f"floatbench/_shipped/protocols/{path.name}" for path in (ROOT / "protocols").glob("*-test.toml")}
    assert not [name for name in names - protocols if "test" in name.lower() or "__pycache__" in name]
    assert wheel.stat().st_size < MAX_WHEEL
    for folder in SHIPPED:
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        kept = {f"floatbench/_shipped/{name}" for name in files if "__pycache__" not in name}
        assert kept and kept <= names
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "floatbench").rglob("*") if path.is_file()}
    assert {name for name in code if "__pycache__" not in name} <= names
    said = email.message_from_string(package)
    assert said["Version"] == floatbench.__version__
    assert not [line for line in said.get_all("Classifier", []) if line.startswith("Private")]
    assert said["License-Expression"] == "Apache-2.0" and said["Keywords"] and "make demo" in said.get_payload()


def test_a_wheel_from_the_clone_is_the_wheel_from_the_source_distribution(wheel, tmp_path):
    ran([*BUILD, "--wheel", "--out-dir", tmp_path, ROOT])
    (direct,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(direct) as second:
        assert {(i.filename, i.CRC) for i in first.infolist()} == {(i.filename, i.CRC) for i in second.infolist()}


def test_the_source_distribution_holds_what_the_tests_need_and_nothing_made(built):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        members = archive.getmembers()
    top = {member.name.split("/")[1] for member in members}
    assert {*SHIPPED, "floatbench", "tests", "docs", "pyproject.toml", "constraints.txt", "LICENSE"} <= top
    assert not top & {".venv", "runs", "shared", ".git"} and all(member.isfile() for member in members)


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dynamic"] == ["version"]
    assert f"\nversion: {floatbench.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## [{floatbench.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
