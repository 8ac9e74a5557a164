"""A system has a name: one folder is one system, and two systems are never one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folder_toys import project

import floatbench
from floatbench.engine.merge import merge
from floatbench.errors import UsageError
from floatbench.methods.catalogue import create, parse_methods, resolve
from floatbench.methods.videos import VideosMethod


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("out", "a,b", "x as y", "deep/out"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_one_folder_spelled_in_many_ways_is_one_system(here):
    (here / "link").symlink_to("out")
    spellings = ["out", "./out", "out/", f"{here}/out", "deep/../out", "link"]
    assert [method.name for method in resolve(f"videos:{name}" for name in spellings)] == ["videos:out"]


def test_a_folder_elsewhere_is_named_by_its_whole_path(here, monkeypatch):
    monkeypatch.chdir(here / "deep")
    assert create("videos:../out").name == f"videos:{os.path.realpath(here / 'out')}"
    assert create("videos:.").name == f"videos:{os.path.realpath(here / 'deep')}"


@pytest.mark.parametrize("text", ["videos:out as Ours", "Ours=videos:out", " Ours =videos:out"])
def test_a_system_can_have_a_name_of_its_own(here, text):
    method = create(text.strip())
    assert isinstance(method, VideosMethod)
    assert (method.name, method.folder, "place" in method.record()) == ("Ours", Path("out"), False)


def test_a_folder_whose_name_reads_like_a_naming_is_taken_whole(here):
    assert create("videos:x as y").name == "videos:x as y"
    assert create("videos:x as y as Z").name == "Z"


@pytest.mark.parametrize("name", ["float", "float-tiny", "float@paper", "frozen", "shifted:5", "reference"])
def test_the_name_of_another_method_is_refused(here, name):
    with pytest.raises(UsageError, match="is the name of another method"):
        create(f"videos:out as {name}")


def test_two_systems_of_one_name_are_refused_and_one_system_twice_is_not(here):
    with pytest.raises(UsageError, match="two different methods are called 'Ours'"):
        resolve(["Ours=videos:out", "Ours=videos:deep/out"])
    assert len(resolve(["Ours=videos:out", "videos:./out as Ours"])) == 1


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        ("float,videos:out , frozen,float", ["float", "videos:out", "frozen"]),
        ("videos:a,b", ["videos:a,b"]),
        ("float,videos:a,b as Ours,frozen", ["float", "videos:a,b as Ours", "frozen"]),
        ("Ours=videos:a,b,frozen", ["Ours=videos:a,b", "frozen"]),
        ("videos:nowhere,frozen", ["videos:nowhere", "frozen"]),
        ("", []),
    ],
)
def test_a_comma_may_be_part_of_a_folder_name(here, text, methods):
    assert parse_methods(text) == methods


def test_where_both_names_are_folders_the_comma_is_escaped(here):
    (here / "a").mkdir()
    assert parse_methods("videos:a,b") == ["videos:a", "b"]
    assert parse_methods(r"videos:a\,b,frozen") == ["videos:a,b", "frozen"]


def half(folder: Path, clip: str, out: Path, method: str):
    command = {"clips": [clip], "metrics": ["psnr-grey128"], "controls": False, "workers": 0, "out": out}
    return floatbench.run(f"folder:{folder / 'ref'}", [method], boxes="none", size=32, **command)


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    """Two laboratories with one reference and a folder `gen` of videos each."""
    for lab in ("one", "two"):
        project(tmp_path / lab, frames=30)
    return tmp_path


def test_two_folders_of_one_name_are_merged_only_under_a_name_of_their_own(labs, monkeypatch):
    for naming, outs in (("videos:gen", ("a", "b")), ("videos:gen as Ours", ("c", "d"))):
        for lab, clip, out in zip(("one", "two"), ("a.mkv", "b.mkv"), outs, strict=True):
            monkeypatch.chdir(labs / lab)
            half(labs / "one", clip, labs / out, naming)
    with pytest.raises(UsageError, match="'videos:gen', and they are not known to be one"):
        merge([labs / "a", labs / "b"], labs / "ab")
    merged = merge([labs / "c", labs / "d"], labs / "cd")
    assert [(cell.method, cell.n) for cell in merged.scores.scores] == [("Ours", 2)]


def test_a_run_folder_keeps_a_name_for_one_kind_of_method(labs, monkeypatch):
    monkeypatch.chdir(labs / "one")
    half(labs / "one", "a.mkv", labs / "run", "videos:gen as Ours")

    class Ours(floatbench.Method):
        name = "Ours"

        def generate(self, request):
            raise NotImplementedError

    with pytest.raises(UsageError, match="has another method called 'Ours'"):
        half(labs / "one", "a.mkv", labs / "run", Ours())  # pyright: ignore[reportArgumentType]
