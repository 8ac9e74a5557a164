"""What lies in a folder: one rule for hidden files, links and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatbench.errors import DataError
from floatbench.folders import files_below, is_hidden, visible

LEFT_BEHIND = (".DS_Store", "._a.mkv", "Thumbs.db", "thumbs.db", "desktop.ini", "Icon\r", ".hidden.mkv")


def put(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", [*LEFT_BEHIND, "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"])
def test_what_a_system_leaves_for_itself_is_hidden(name):
    assert is_hidden(name) and not is_hidden(f"a{name}")


def test_hidden_files_and_folders_are_passed_over_and_counted(tmp_path):
    for name in (*LEFT_BEHIND, "a.mkv", "__MACOSX/b.mkv", ".trash/c.mkv", "sub/._d.mkv"):
        put(tmp_path / name)
    found = files_below(tmp_path, {".mkv"})
    assert found.files == ("a.mkv",)
    assert found.notes == ("passed over 3 hidden files",)
    assert [path.name for path in visible(tmp_path)] == ["a.mkv", "sub"]


def test_suffixes_count_in_whatever_case_and_names_are_sorted(tmp_path):
    for name in ("b.MKV", "a/z.mkv", "a.txt"):
        put(tmp_path / name)
    assert files_below(tmp_path, {".mkv"}).files == ("a/z.mkv", "b.MKV")


def test_links_to_files_and_folders_are_followed_wherever_they_lead(tmp_path):
    put(tmp_path / "store/deep/one.mkv")
    put(tmp_path / "store/two.mkv")
    farm = tmp_path / "farm"
    farm.mkdir()
    (farm / "sub").symlink_to(tmp_path / "store", target_is_directory=True)
    (farm / "two.mkv").symlink_to("../store/two.mkv")
    (tmp_path / "way").symlink_to(farm)
    for folder in (farm, tmp_path / "way"):
        assert files_below(folder, {".mkv"}).files == ("sub/deep/one.mkv", "sub/two.mkv", "two.mkv")


def test_a_folder_that_holds_itself_through_a_link_is_entered_once(tmp_path):
    put(tmp_path / "a/one.mkv")
    put(tmp_path / "b/two.mkv")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    found = files_below(tmp_path, {".mkv"})
    assert found.files == ("a/b/two.mkv", "a/one.mkv", "b/a/one.mkv", "b/two.mkv")
    assert "passed over a/up: a link to a folder that it lies in" in found.notes and len(found.notes) == 4


@pytest.mark.parametrize("name", ["a.mkv", "sub", "a.wav"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_broken_link_is_an_error_that_names_it(tmp_path, name, target):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "deep" / name
    link.symlink_to(name if target == "itself" else "nowhere")
    for look in (lambda: files_below(tmp_path, {".mkv"}), lambda: visible(tmp_path / "deep")):
        with pytest.raises(DataError, match=f"deep/{name} is a broken link to ") as caught:
            look()
        assert caught.value.fix == "mend the link, or take it away"


def test_a_folder_that_is_not_there_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="absent cannot be read: No such file"):
        files_below(tmp_path / "absent", {".mkv"})


def test_a_hidden_broken_link_harms_nobody(tmp_path):
    put(tmp_path / "a.mkv")
    (tmp_path / ".#a.mkv").symlink_to("somebody@host.1234")  # the lock of an editor
    assert files_below(tmp_path, {".mkv"}).files == ("a.mkv",)


def test_what_floatbench_wrote_is_passed_over_also_behind_a_link(tmp_path):
    put(tmp_path / "in/a.mkv")
    for name in ("run.json", "rows.jsonl", "generated/float/b.mkv"):
        put(tmp_path / "runs/one" / name)
    (tmp_path / "in/last").symlink_to("../runs/one")
    found = files_below(tmp_path / "in", {".mkv"})
    assert (found.files, found.notes) == (("a.mkv",), ("passed over last: floatbench wrote it",))
