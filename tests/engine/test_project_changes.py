"""After any small changes of a project the same command gives what it gives in an empty folder."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_toys import CLIPS, film, project, score

import floatbench
from floatbench.errors import FloatbenchError

Change = Callable[[Path, random.Random], str]


def _videos(folder: Path) -> list[Path]:
    """What stands for a video of the system or of the reference, links and damaged files included."""
    return sorted(path for side in ("gen", "ref") for path in (folder / side).rglob("*.mkv"))


def _like(path: Path, times: os.stat_result) -> None:
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rename(folder: Path, draw: random.Random) -> str:
    video = draw.choice(_videos(folder))
    target = video.with_name(f"{draw.choice((*CLIPS, 'd'))}.mkv")
    if not target.exists():
        video.rename(target)
    return f"{video.parent.name}/{video.name} -> {target.name}"


def replace(folder: Path, draw: random.Random) -> str:
    """Another film; half of them with the old one's times."""
    video = draw.choice(_videos(folder))
    times, seed, kept = video.stat(), draw.randrange(1000), draw.random() < 0.5
    video.unlink()
    film(video, seed)
    if kept:
        _like(video, times)
    return f"{video.parent.name}/{video.name} = film {seed}{' with its old times' if kept else ''}"


def write_over(folder: Path, draw: random.Random) -> str:
    """The same file with another content: inode, size and times stay."""
    video, other = draw.choice(_videos(folder)), film(folder / "other.mkv", draw.randrange(1000))
    times = video.stat()
    video.write_bytes(other.read_bytes())
    _like(video, times)
    other.unlink()
    return f"{video.parent.name}/{video.name} written over"


def swap(folder: Path, draw: random.Random) -> str:
    side = draw.choice(("gen", "ref"))
    found = sorted((folder / side).glob("*.mkv"))
    if len(found) > 1:
        one, two = draw.sample(found, 2)
        one.rename(folder / "kept")
        two.rename(one)
        (folder / "kept").rename(two)
    return f"two of {side} swapped"


def damage(folder: Path, draw: random.Random) -> str:
    video = draw.choice(_videos(folder))
    data = video.read_bytes()
    if not (folder / "whole").exists():
        (folder / "whole").write_bytes(data)
        (folder / "where").write_text(str(video.relative_to(folder)))
    video.write_bytes(data[: len(data) // 2])
    return f"{video.parent.name}/{video.name} damaged"


def repair(folder: Path, draw: random.Random) -> str:
    if not (folder / "whole").exists():
        return "nothing to repair"
    video = folder / (folder / "where").read_text()
    video.unlink(missing_ok=True)
    (folder / "whole").rename(video)
    return f"{video.parent.name}/{video.name} repaired"


def touch(folder: Path, draw: random.Random) -> str:
    video = draw.choice(_videos(folder))
    video.touch()
    return f"{video.parent.name}/{video.name} touched"


def copy_with_times(folder: Path, draw: random.Random) -> str:
    """One film over another one's name, with the times of the one that was there."""
    source, target = draw.choice(_videos(folder)), draw.choice(_videos(folder))
    if source.resolve() != target.resolve():
        times = target.stat()
        target.unlink()
        shutil.copy2(source, target)
        _like(target, times)
    return f"{source.parent.name}/{source.name} over {target.parent.name}/{target.name}"


def relink(folder: Path, draw: random.Random) -> str:
    """A link inside its folder to one of two films that are stored there under other names."""
    video = draw.choice(_videos(folder))
    store = video.parent / f".store{draw.randrange(2)}"
    if not store.exists():
        film(folder / "new.mkv", draw.randrange(1000)).rename(store)
    video.unlink()
    video.symlink_to(store.name)
    return f"{video.parent.name}/{video.name} linked to {store.name}"


def take_away(folder: Path, draw: random.Random) -> str:
    video = draw.choice(_videos(folder))
    if len(list((folder / "ref").glob("*.mkv"))) > 1 or video.parent.name == "gen":
        video.unlink()
    return f"{video.parent.name}/{video.name} gone"


CHANGES: tuple[Change, ...] = (
    rename, replace, write_over, swap, damage, repair, touch, copy_with_times, relink, take_away,
)  # fmt: skip


def scored(folder: Path, out: Path | None, command: str, controls: bool) -> object:
    """What a call leaves: its scores without the environment, or what it says instead."""
    try:
        if command == "score":
            result = score(folder, out, controls=controls)
        else:
            result = floatbench.run(
                f"folder:{folder / 'ref'}", [f"videos:{folder / 'gen'}"], metrics=["psnr-grey128"], boxes="none",
                size=32, workers=0, out=out, controls=controls,
            )  # fmt: skip
    except FloatbenchError as error:
        return type(error), error.what
    record = json.loads((result.folder / "scores.json").read_text())
    del record["environment"]
    return record


def last_call_is_a_fresh_one(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Equal commands with small changes between them; the last is held to the same command with empty folders.

    The run folder is the command's own, named after the content of the reference, and the cache is kept between calls.
    """
    draw = random.Random(seed)
    command, controls = "run" if seed % 5 == 0 else "score", seed % 3 == 0
    monkeypatch.chdir(folder)
    project(folder / "p", frames=4 if command == "score" else 25)
    scored(folder / "p", None, command, controls)
    said = []
    for _ in range(draw.randint(1, 2)):
        said += [draw.choice(CHANGES)(folder / "p", draw) for _ in range(draw.randint(1, 3))]
        last = scored(folder / "p", None, command, controls)
    monkeypatch.setenv("FLOATBENCH_HOME", str(folder / "empty home"))
    assert last == scored(folder / "p", folder / "fresh", command, controls), (seed, said)


@pytest.mark.parametrize("seed", range(6))
def test_the_last_call_gives_what_empty_folders_give(tmp_path, monkeypatch, seed):
    last_call_is_a_fresh_one(tmp_path, monkeypatch, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 506))
def test_five_hundred_draws_without_a_difference(tmp_path, monkeypatch, seed):
    last_call_is_a_fresh_one(tmp_path, monkeypatch, seed)
