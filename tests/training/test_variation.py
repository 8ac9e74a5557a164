"""People as photographs and drawings might show them: the pictures change, and the truth with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from floatbench.training.batches import Frame
from floatbench.training.clips import ClipPool, RenderedClips
from floatbench.training.ground_truth import MOTION_NAMES, SPREAD
from floatbench.training.tiny.pairs import draw_tiny_pairs
from floatbench.training.tiny.variation import Variation, background, texture

SIZE = 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Iterator[RenderedClips]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOATBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        rendered = RenderedClips(SIZE, 2, seconds=0.8, still=0.4)
        rendered.render()
        yield rendered


def _plain(seed: int) -> Variation:
    """A variation that changes the framing alone."""
    variation = Variation(np.random.default_rng(seed), SIZE)
    variation._behind = variation._light = variation._front = None
    variation._style, variation._grain = "none", 0.0
    variation._mix, variation._tone = np.eye(3, 4), np.arange(256, dtype=np.uint8)
    return variation


@pytest.mark.parametrize("seed", range(4))
def test_surface_points_go_where_the_picture_takes_them(seed):
    variation = _plain(seed)
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    for at in ((26.0, 30.0), (36.0, 24.0)):
        spot = 250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 6)
        seen = variation.picture(np.repeat(spot[..., None], 3, -1).astype(np.uint8), None)[..., 0].astype(float)
        centre = np.array([(seen * x).sum(), (seen * y).sum()]) / seen.sum()
        track = np.array([[(2 * at[0] + 1) / SIZE - 1, (2 * at[1] + 1) / SIZE - 1, 1]])
        told = ((variation.tracks(track)[0, :2] + 1) * SIZE - 1) / 2
        assert np.abs(told - centre).max() < 0.5


def test_a_picture_turned_clockwise_shows_a_head_that_rolls_clockwise():
    variation = _plain(0)
    rest = np.zeros(len(MOTION_NAMES), np.float32)
    rolled = (variation.motion(rest) * SPREAD)[MOTION_NAMES.index("roll")]
    assert rolled == pytest.approx(variation.angle, abs=1e-6) and variation.angle != 0
    right, left = (variation.points(np.array([[x, SIZE / 2]]))[0] for x in (45.0, 18.0))
    down = np.arctan2(right[1] - left[1], right[0] - left[0])  # y grows downwards: clockwise is positive
    assert down == pytest.approx(variation.angle, abs=0.12)


def test_the_background_is_what_no_frame_changes_and_never_the_face(clips):
    clip = clips.load(0)
    still = background((clip, clip))
    assert still is not None and 0.1 < still.mean() < 0.8
    x0, y0, x1, y1 = (clip.boxes[0, 0] * SIZE).astype(int)
    assert still[y0:y1, x0:x1].sum() == 0
    assert background((clips.load(2), clips.load(2))) is None  # a head held still cannot be told from it


def test_both_pictures_of_a_pair_change_alike_and_the_same_seed_gives_the_same(clips):
    pool = ClipPool(clips, [0, 1], 2, 1)
    first, again = (draw_tiny_pairs(pool, 4, 0, 3, True, True, 1.0, 0.5, vary=1.0) for _ in range(2))
    assert np.array_equal(first.source, again.source) and np.array_equal(first.driving, again.driving)
    assert first.truth is not None and again.truth is not None
    assert np.array_equal(first.truth.source_tracks, again.truth.source_tracks)
    grained = np.abs(first.source[:2].float() - first.driving[2:].float())
    assert grained.mean() < 8  # exchanged pairs show the same pictures, but for grain
    plain = draw_tiny_pairs(pool, 4, 0, 3, True, True, 1.0, 0.5)
    assert np.abs(first.source.float() - plain.source.float()).mean() > 10


def test_textures_differ_in_colour_and_size():
    made = [texture(np.random.default_rng(seed), SIZE) for seed in range(6)]
    assert len({picture.tobytes() for picture in made}) == 6
    assert all(picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8 for picture in made)


def test_an_unvaried_frame_stays_as_it_was_drawn(clips):
    clip = clips.load(0)
    assert np.array_equal(Frame(clip, 3).picture(False), clip.frames[3])
