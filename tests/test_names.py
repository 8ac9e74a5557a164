"""Which file stands for which name: exactly, or by a stated rule, and never by a part of a name."""

from __future__ import annotations

import unicodedata

import pytest

from floatbench.errors import UsageError
from floatbench.names import common_end, matched, nearest, refuse_one_name_twice
from floatbench.types import VIDEO_SUFFIXES

NFC, NFD = (unicodedata.normalize(form, "se\u00f1al") for form in ("NFC", "NFD"))


def who(wanted, files, *strip):
    return matched({name: (f"slug-{name}",) for name in wanted}, files, "gen", strip)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a", "a.mp4"),
        ("a.mp4", "a.mp4"),
        ("a.mp4", "a.MP4"),
        ("a.mp4", "a.mkv"),
        ("a.mp4", "a.mp4.mkv"),
        ("sub/a.MOV", "sub/a.webm"),
        ("take.1", "take.1.mp4"),
        (f"{NFC}.mp4", f"{NFD}.mp4"),
        (NFD, f"{NFC}.mkv"),
        ("a", "slug-a.mkv"),
        ("a,b.mp4", "a,b.mp4"),
        *(("a.avi", f"a{suffix}") for suffix in VIDEO_SUFFIXES),
    ],
)
def test_a_name_and_a_file_that_belong_together(name, file):
    assert who([name], [file, "other.mp4"]) == {name: file}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("take.1", "take.mp4"),
        ("take", "take.1.mp4"),
        ("a.v2", "a.mp4"),
        ("a", "A.mp4"),
        ("a", "a.txt.mp4"),
        ("sub/a", "a.mp4"),
        ("a", "sub/a.mp4"),
        ("a", "a_gen.mp4"),
        ("a", "a .mp4"),
        ("01", "1.mp4"),
    ],
)
def test_no_part_of_a_name_is_dropped(name, file):
    assert who([name], [file]) == {}


def test_neighbours_with_dots_in_their_names_keep_their_own_videos():
    assert who(["take.1", "take.2", "take"], ["take.2.mp4", "take.mp4"]) == {"take.2": "take.2.mp4", "take": "take.mp4"}


@pytest.mark.parametrize("name", ["a", "a.mp4"])
def test_a_suffix_is_taken_off_where_that_is_said(name):
    assert who([name], ["a_gen.mkv"], "_gen") == who([name], ["a_gen.mkv"], "_x", "_gen.mp4") == {name: "a_gen.mkv"}
    assert who([name], ["a_gen_gen.mkv", "a_GEN.mkv"], "_gen") == {}


def test_an_exact_name_is_nobody_elses_by_a_rule():
    assert who(["a", "a_gen"], ["a.mp4", "a_gen.mp4"], "_gen") == {"a": "a.mp4", "a_gen": "a_gen.mp4"}
    assert who(["a", "a_gen"], ["a_gen.mp4"], "_gen") == {"a_gen": "a_gen.mp4"}
    assert who(["x", "x.mp4"], ["x.mov", "x.mp4.mkv"]) == {"x": "x.mov", "x.mp4": "x.mp4.mkv"}


@pytest.mark.parametrize(
    "files",
    [("a.mov", "a.mp4"), ("a.MP4", "a.mp4"), ("a.mp4", "a_gen.mp4"), ("a.mp4", "slug-a.mp4"), ("a_gen.mkv", "a_x.mkv")],
)
@pytest.mark.parametrize("name", ["a", "a.mp4"])
def test_two_files_for_one_name_are_refused(name, files):
    if name == "a.mp4":
        files = [file.replace("slug-a.", "slug-a.mp4.") for file in files]
    with pytest.raises(UsageError, match=f"gen: {files[0]} and {files[1]} are both that of {name}"):
        who([name], [*files, "b.mp4"], "_gen", "_x")


def test_one_file_for_two_names_is_refused():
    with pytest.raises(UsageError, match=r"gen: a\.mkv could be that of a\.mp4 and of a\.mov"):
        who(["a.mp4", "a.mov"], ["a.mkv"])


@pytest.mark.parametrize("twice", [("x.mov", "x.mp4"), ("s/x.MP4", "s/x.mp4"), (f"{NFC}.mkv", f"{NFD}.mkv")])
def test_one_name_twice_is_refused(twice):
    refuse_one_name_twice(["x.mov", "s/x.mp4", "X.mov", "x.1.mov"], "ref")
    with pytest.raises(UsageError, match="are one name twice"):
        refuse_one_name_twice(["a.mkv", *twice], "ref")


def test_the_nearest_names_are_those_of_the_same_name_elsewhere_then_the_likest():
    assert nearest("sub/anna_01.mp4", ["anna_01.mp4", "sub/anna_10.mkv", "bert.mkv"]) == [
        "anna_01.mp4", "sub/anna_10.mkv",
    ]  # fmt: skip
    assert nearest("a", ["zzzzzz.mp4"]) == []


def test_the_end_that_most_names_have_in_common_is_found():
    assert common_end(["a.mp4", "b.mp4"], ["a_gen.mp4", "b_gen.mp4", "b_x.mp4"]) == "_gen"
    assert common_end(["a.mp4"], ["q.mp4"]) == ""
