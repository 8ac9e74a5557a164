"""Finished videos and clips: what does not match is said before any work, and none matching ends the call."""

from __future__ import annotations

import json
import shutil

import pytest
from folder_toys import film, project, psnr, score

import floatbench
from floatbench.cli.app import main
from floatbench.engine import runner
from floatbench.errors import DataError, UsageError
from floatbench.methods.videos import VideosMethod
from floatbench.protocol.two_folders import as_is_protocol
from floatbench.reports.page.build import dataset_of
from floatbench.reports.page.footage import Footage


class Said:
    """A progress that keeps what is said, and forbids work after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        for name in ("make_plan", "first_use", "_execute"):
            monkeypatch.setattr(runner, name, self._work)

    def _work(self, *_: object) -> None:
        raise AssertionError("work was begun")

    def note(self, line: str) -> None:
        self.notes.append(line)


@pytest.fixture
def here(tmp_path):
    return project(tmp_path)


def test_what_does_not_match_is_said_before_any_work(here, monkeypatch):
    (here / "gen/c.mkv").rename(here / "gen/cc.mkv")
    said = Said(monkeypatch)
    with pytest.raises(AssertionError, match="work was begun"):
        score(here, here / "run", progress=said)
    name = f"videos:{here / 'gen'}"
    assert said.notes == [
        f"{name}: 1 of 3 clips have no video: c (nearest: cc.mkv)",
        f"{name}: 1 of 3 videos belong to no clip: cc.mkv",
    ]


@pytest.mark.parametrize("call", ["score", "run"])
def test_none_matching_ends_the_call_before_any_work(here, monkeypatch, call):
    for video in sorted((here / "gen").iterdir()):
        video.rename(video.with_stem(f"{video.stem}_gen"))
    said = Said(monkeypatch)
    monkeypatch.setattr("floatbench.data.folder.FolderDataset.prepare", said._work)
    with pytest.raises(DataError, match=r"belongs to any of the 3 clips: a.* \(nearest: a_gen.mkv") as caught:
        if call == "score":
            score(here, here / "run", progress=said)
        else:
            floatbench.run(f"folder:{here / 'ref'}", [f"videos:{here / 'gen'}"], boxes="none", out=here / "run")
    assert (caught.value.fix, caught.value.exit_code) == ("--strip-suffix _gen", 4)
    assert not (here / "run").exists()


def test_a_stated_suffix_is_taken_off_and_recorded(here, capfd):
    plain = psnr(score(here, here / "plain"))
    for video in sorted((here / "gen").iterdir()):
        video.rename(video.with_name(f"{video.stem}_gen.MKV"))
    arguments = ["score", "--generated", str(here / "gen"), "--reference", str(here / "ref"), "--no-controls"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--metrics", "psnr-grey128", "--workers", "0", "--out", str(here / "run"), "--json",
              "--strip-suffix", "_x", "--strip-suffix", "_gen"])  # fmt: skip
    [cell] = json.loads(capfd.readouterr().out)["scores"]
    assert (stopped.value.code or 0, cell["value"], cell["n"]) == (0, plain, 3)
    record = json.loads((here / "run/run.json").read_text())["methods"][cell["method"]]
    assert record["strip_suffixes"] == ["_x", "_gen"]


def test_the_page_finds_the_videos_by_the_rules_of_the_run(here):
    for video in sorted((here / "gen").iterdir()):
        video.rename(video.with_stem(f"{video.stem}_gen"))
    result = score(here, here / "run", strip_suffix=["_gen"])
    from floatbench.reports.loading import load_run

    run = load_run(result.folder)
    footage = Footage(run, dataset_of(run, here / "ref"))
    for row in result.run.rows.values():
        assert footage.load(row).pixels_sha256 == row.pixels_sha256


def test_an_id_with_dots_never_takes_a_neighbours_video(tmp_path):
    project(tmp_path, clips=("take.1", "take"))
    (tmp_path / "gen/take.1.mkv").unlink()
    result = score(tmp_path, tmp_path / "run")
    assert {row.clip: row.status for row in result.run.rows.values()} == {"take": "ok", "take.1": "failed"}


@pytest.mark.parametrize("side", ["gen", "ref"])
def test_one_name_twice_is_refused_on_either_side(here, side):
    film(here / side / "b.avi", 7)
    with pytest.raises(UsageError, match=r"b\.avi and b\.mkv are"):
        score(here, here / "run")
    with pytest.raises(UsageError, match=r"b\.avi and b\.mkv are"):
        floatbench.run(f"folder:{here / 'ref'}", [f"videos:{here / 'gen'}"], boxes="none", out=here / "run")
    assert not (here / "run").exists()


def test_videos_of_clips_that_were_not_chosen_are_no_strangers(here):
    clips = as_is_protocol(here / "ref", ("psnr-grey128",)).clips
    method = VideosMethod(here / "gen")
    assert method.match(clips, clips[:1]) == []
    (here / "gen/a.mkv").unlink()
    with pytest.raises(DataError, match="any of the 1 clips: a"):
        method.match(clips, clips[:1])


def test_a_farm_of_links_and_a_linked_subfolder_are_scored_like_the_files(tmp_path):
    project(tmp_path / "plain")
    for side in ("ref", "gen"):
        (tmp_path / "farm" / side).mkdir(parents=True)
        (tmp_path / "farm" / side / "sub").symlink_to(tmp_path / "plain" / side)
        for name in "abc":
            (tmp_path / "plain" / f"{side}s").mkdir(exist_ok=True)
            (tmp_path / "plain" / f"{side}s" / f"{name}.mkv").symlink_to(f"../{side}/{name}.mkv")
    plain = psnr(score(tmp_path / "plain", tmp_path / "one"))
    assert psnr(score(tmp_path / "farm", tmp_path / "two")) == plain
    for side in ("ref", "gen"):
        (tmp_path / "plain" / side).rename(tmp_path / "plain" / f"{side}-store")
        (tmp_path / "plain" / f"{side}s").rename(tmp_path / "plain" / side)
        for link in (tmp_path / "plain" / side).iterdir():
            link.unlink()
            link.symlink_to(f"../{side}-store/{link.name}")
    again = score(tmp_path / "plain", tmp_path / "one")
    assert (psnr(again), again.run.new_rows) == (plain, 0)  # keyed by content: nothing has changed


def test_a_broken_link_on_either_side_is_named_before_any_work(here):
    (here / "gen/b.mkv").unlink()
    (here / "gen/b.mkv").symlink_to("gone.mkv")
    with pytest.raises(DataError, match=r"gen/b\.mkv is a broken link to gone\.mkv"):
        score(here, here / "run")
    (here / "ref/b.wav").symlink_to("gone.wav")
    with pytest.raises(DataError, match=r"ref/b\.wav is a broken link to gone\.wav"):
        score(here, here / "run")


def test_hidden_files_of_other_systems_change_nothing(here):
    first = score(here, here / "run")
    for side in ("ref", "gen"):
        for name in ("._a.mkv", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.mkv"):
            (here / side / name).parent.mkdir(exist_ok=True)
            (here / side / name).write_bytes(b"\0\5\x16\7")
    again = score(here, here / "run")
    assert (psnr(again), again.run.new_rows, again.complete) == (psnr(first), 0, True)


def test_videos_behind_a_link_into_the_runs_own_outputs_are_refused(here):
    (here / "run/generated/x").mkdir(parents=True)
    (here / "gen/a.mkv").rename(here / "run/generated/x/a.mkv")
    (here / "gen/a.mkv").symlink_to(here / "run/generated/x/a.mkv")
    with pytest.raises(UsageError, match="would hold what the run writes"):
        score(here, here / "run")


def planned(capfd, *arguments: str) -> dict:
    """What `run --dry-run` prints, as data."""
    with pytest.raises(SystemExit) as stopped:
        main(
            ["run", *arguments, "--boxes", "none", "--metrics", "psnr-grey128", "--no-controls", "--dry-run", "--json"]
        )
    return {"code": stopped.value.code or 0} | json.loads(capfd.readouterr().out)


def test_methods_may_be_given_in_several_options_and_folders_may_hold_commas(here, capfd, monkeypatch):
    monkeypatch.chdir(here)
    for name in ("gen, 1", "gen 2"):
        shutil.copytree("gen", name)
    plan = planned(capfd, "-p", "folder:ref", "-m", r"videos:gen\, 1", "-m", "Ours=videos:gen 2,frozen", "-m", "frozen")
    assert (plan["code"], plan["methods"]) == (0, ["videos:gen, 1", "Ours", "frozen"])
    monkeypatch.setenv("FLOATBENCH_RUN_METHODS", "videos:gen 2,frozen\nvideos:gen\\, 1")
    assert planned(capfd, "-p", "folder:ref")["methods"] == ["videos:gen 2", "frozen", "videos:gen, 1"]
    monkeypatch.delenv("FLOATBENCH_RUN_METHODS")
    (here / "run.toml").write_text('methods = "videos:gen 2,frozen"\nstrip_suffix = "_x"\n')
    assert planned(capfd, "-p", "folder:ref", "--config", "run.toml")["methods"] == ["videos:gen 2", "frozen"]


def test_the_dry_run_says_what_does_not_match_and_ends_with_the_code_of_missing_data(here, capfd):
    (here / "gen/c.mkv").unlink()
    (here / "ref/.d.mkv").write_bytes(b"x")
    plan = planned(capfd, "-p", f"folder:{here / 'ref'}", "-m", f"Ours=videos:{here / 'gen'}")
    assert (plan["code"], plan["notes"]) == (
        0,
        ["passed over 1 hidden file", "Ours: 1 of 3 clips have no video: c.mkv"],
    )
    for name in "ab":
        (here / f"gen/{name}.mkv").rename(here / f"gen/{name}{name}.mkv")
    plan = planned(capfd, "-p", f"folder:{here / 'ref'}", "-m", f"Ours=videos:{here / 'gen'}")
    assert plan["code"] == 4 and "belongs to any of the 3 clips: a.mkv (nearest: aa.mkv)" in plan["missing"][0]["what"]
    assert planned(capfd, "-p", f"folder:{here / 'ref'}", "-m", f"Ours=videos:{here / 'gen'},frozen",
                   "--skip-unavailable")["methods"] == ["frozen"]  # fmt: skip


def test_ids_with_commas_can_be_chosen(here, capfd):
    film(here / "ref/a, b.mkv", 9)
    plan = planned(capfd, "-p", f"folder:{here / 'ref'}", "-m", "reference", "--clips", r"a\, b.mkv,c.mkv")
    assert plan["clips"] == 2
