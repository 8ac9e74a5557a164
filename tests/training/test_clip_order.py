"""What a pool shows of the paper's data over 460,000 steps: every data set all the time, every clip, many people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import UsageError
from floatbench.media.image import write_image
from floatbench.progress import NullProgress
from floatbench.protocol.load import load_protocol
from floatbench.training.clip_order import MixedOrder
from floatbench.training.clips import ClipOrder, ClipSet, TrainingClip, pool_indices
from floatbench.training.config import TrainConfig
from floatbench.training.configs import CONFIGS, load_config
from floatbench.training.data_config import DataConfig
from floatbench.training.frame_folders import FrameFolders
from floatbench.training.pair_stream import PairPlan
from floatbench.training.protocol_clips import MOST_FRAMES
from floatbench.training.train import clip_set

STEPS, POOL, REFRESH = 460_000, 64, 20
VFHQ = 16_000


class PaperClips(ClipSet):
    """The lists without the pictures, data set after data set: HDTF's recordings in parts, RAVDESS, VFHQ.

    Args:
        folders: real ones, which say what VFHQ is called.
    """

    def __init__(self, folders: FrameFolders) -> None:
        hdtf, ravdess = (load_protocol(name).clips for name in ("hdtf-train", "ravdess-train"))
        parts = [ceil(((clip.end_s or 0) - (clip.start_s or 0)) * 25 / MOST_FRAMES) for clip in hdtf]
        spoken = [
            ("hdtf-train", clip.identity)
            for first in range(max(parts))
            for clip, count in zip(hdtf, parts, strict=True)
            if first < count
        ]
        acted = [("ravdess-train", clip.identity) for clip in ravdess]
        vfhq = folders.origin(0)[0]
        self.origins = [*spoken, *acted, *((vfhq, str(number // 2)) for number in range(VFHQ))]
        self.counts = Counter(name for name, _ in self.origins)

    def __len__(self) -> int:
        return len(self.origins)

    def load(self, index: int) -> TrainingClip:
        raise AssertionError("the order is known without loading a clip")

    def origin(self, index: int) -> tuple[str, str]:
        return self.origins[index]


def make_folders(root: Path, count: int) -> Path:
    for number in range(count):
        write_image(root / f"Clip+v{number}+P0+C0+F1-9" / "00000000.png", np.zeros((8, 8, 3), np.uint8))
    return root


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> PaperClips:
    root = make_folders(tmp_path_factory.mktemp("raw") / "vfhq", 1)
    return PaperClips(FrameFolders(root, 8, name="frames:vfhq"))


def pools(order: ClipOrder, every: int = 2_000) -> Iterator[list[int]]:
    return (pool_indices(order, POOL, REFRESH, step) for step in range(0, STEPS, every))


def shares_of(paper: PaperClips, pool: list[int]) -> dict[str, float]:
    return {name: count / len(pool) for name, count in Counter(paper.origins[i][0] for i in pool).items()}


def test_the_lists_are_those_of_the_paper(paper):
    assert paper.counts == {"hdtf-train": 7_247, "ravdess-train": 1_320, "frames:vfhq": VFHQ}


def test_every_pool_has_all_data_sets_in_proportion_and_hardly_two_clips_of_a_person(paper):
    order = MixedOrder(paper, range(len(paper)), 1)
    for pool in pools(order):
        for name, clips in paper.counts.items():
            assert shares_of(paper, pool).get(name, 0) == pytest.approx(clips / len(paper), abs=2 / POOL)
        people = Counter(paper.origins[i] for i in pool)
        assert max(people.values()) <= 3 and len(people) > 0.9 * POOL
    listed = [set(shares_of(paper, pool)) for pool in pools(ClipOrder(range(len(paper))))]
    assert sum(len(names) == 1 for names in listed) > 0.95 * len(listed)  # what the order of the files would show


def test_a_share_says_how_often_the_clips_of_a_data_set_come(paper):
    order = MixedOrder(paper, range(len(paper)), 1, {"ravdess-train": 3})
    first = [order.entry(place) for place in range(len(paper) + 2 * 1_320)]
    times = Counter(first)
    assert all(times[i] == (3 if paper.origins[i][0] == "ravdess-train" else 1) for i in range(len(paper)))
    expected = 3 * 1_320 / len(first)
    assert all(
        shares_of(paper, pool)["ravdess-train"] == pytest.approx(expected, abs=2 / POOL) for pool in pools(order)
    )


def test_folders_of_pictures_have_the_share_that_names_them_as_the_configuration_does(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_DATA", str(tmp_path))
    make_folders(tmp_path / "raw" / "vfhq", 2)
    make_folders(tmp_path / "own", 3)
    own = f"frames:{tmp_path / 'own'}"
    data = DataConfig(protocol=f"frames:vfhq, {own}", pool=0, shares={"frames:vfhq": 5, own: 2})
    quiet = dict.fromkeys(("component", "eye_adv", "eye_style", "lip_adv", "lip_style"), 0.0)
    base = CONFIGS["float-512"]
    config = replace(base, data=data, autoencoder=replace(base.autoencoder, **quiet))
    clips = clip_set(config, NullProgress(), pairs=True)
    order = MixedOrder(clips, range(len(clips)), 0, data.shares)
    assert Counter(clips.origin(index)[0] for index in order.epoch(0)) == {"frames:vfhq": 10, own: 6}


def test_every_clip_comes_once_an_epoch_and_each_epoch_has_an_order_of_its_own(paper):
    order = MixedOrder(paper, range(len(paper)), 1)
    epochs = [[order.entry(epoch * len(paper) + place) for place in range(len(paper))] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(len(paper))) for epoch in epochs)
    assert all(a != b for a, b in pairwise(epochs))
    seen = {order.entry(place) for place in range(POOL + (STEPS - 1) // REFRESH)}
    assert len(seen) == POOL + (STEPS - 1) // REFRESH  # none comes twice before all have come once
    assert order.never(POOL, REFRESH, STEPS) == len(paper) - len(seen)
    assert order.never(POOL, 18, STEPS) == 0 == order.never(len(paper), REFRESH, 1)
    missed = Counter(paper.origins[i][0] for i in set(range(len(paper))) - seen)
    assert all(missed[name] < 0.1 * clips for name, clips in paper.counts.items())


def test_the_order_follows_from_seed_and_step_alone(paper):
    first, again, other = (MixedOrder(paper, range(len(paper)), seed) for seed in (1, 1, 2))
    late = STEPS + 1_000_000
    assert pool_indices(first, POOL, REFRESH, late) == pool_indices(again, POOL, REFRESH, late)
    assert pool_indices(first, POOL, REFRESH, 0) != pool_indices(other, POOL, REFRESH, 0)
    assert len(set(pool_indices(first, POOL, REFRESH, 0)) ^ set(pool_indices(first, POOL, REFRESH, REFRESH))) == 2


def test_data_that_fit_the_pool_stay_in_the_order_of_their_list(paper):
    order = MixedOrder(paper, [5, 3, 4], 1)
    assert pool_indices(order, 3, REFRESH, 100) == [5, 3, 4]


def test_shares_are_read_from_a_file_and_must_name_a_data_set(tmp_path):
    file = tmp_path / "shared.toml"
    text = 'base = "float-512"\n[data]\nprotocol = "hdtf-train, ravdess-train"\nshares = { ravdess-train = 3 }\n'
    file.write_text(text)
    assert load_config(str(file)).data.shares == {"ravdess-train": 3}
    for wrong, message in (
        ("{ vfhq = 3 }", "'vfhq' is not among the data sets of data.protocol\nfix: known: hdtf-train, ravdess-train"),
        ("{ ravdes-train = 3 }", "\nfix: did you mean ravdess-train or hdtf-train"),
        ("{ ravdess-train = 0.5 }", "ravdess-train: "),
    ):
        file.write_text(text.replace("{ ravdess-train = 3 }", wrong))
        with pytest.raises(UsageError, match=message):
            load_config(str(file))
    base = CONFIGS["float-512"]
    shared = TrainConfig("x", base.model, DataConfig(protocol="hdtf-train", pool=64, shares={"hdtf-train": 2}))
    assert shared.hash("autoencoder") != base.hash("autoencoder")


def test_real_sets_know_the_origin_of_a_clip(clips):
    assert {clips.origin(i) for i in range(3)} == {("synthetic", str(i)) for i in range(3)}
    assert all(clips.origin(i)[1] == clips.load(i).identity for i in range(3))


@pytest.mark.parametrize("ranks", [2, 8])
def test_straight_from_the_files_every_clip_comes_once_an_epoch_and_no_two_processes_see_one_clip(paper, ranks):
    order, batch = MixedOrder(paper, range(len(paper)), 1), 8
    steps = len(paper) // batch
    seen: list[set[int]] = [set() for _ in range(ranks)]
    for rank, mine in enumerate(seen):
        for _, rows in PairPlan(order, batch, slice(rank, None, ranks), 0, steps):
            mine |= {row.clips[0] for row in rows}
    assert sum(len(mine) for mine in seen) == len(set().union(*seen)) == steps * batch
    assert len(paper) - steps * batch < batch  # the rest opens the next epoch
    for mine in seen:  # each process has all data sets in their proportions
        counts = Counter(paper.origins[i][0] for i in mine)
        for name, clips in paper.counts.items():
            assert counts[name] / len(mine) == pytest.approx(clips / len(paper), rel=0.15)


def test_straight_from_the_files_stretches_of_64_rows_are_as_mixed_as_a_pool(paper):
    order = MixedOrder(paper, range(len(paper)), 1)
    for start in range(0, 8 * STEPS, 200_000):
        stretch = [order.entry(start + place) for place in range(POOL)]
        for name, clips in paper.counts.items():
            assert shares_of(paper, stretch).get(name, 0) == pytest.approx(clips / len(paper), abs=3 / POOL)
        assert len({paper.origins[i] for i in stretch}) > 0.9 * POOL
