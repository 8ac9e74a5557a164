"""A synthetic clip follows from its numbers alone, and its truth describes what is seen and heard."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.data.rendered import SyntheticDataset
from floatbench.errors import UsageError
from floatbench.protocol.protocol import Clip, Preprocessing, Protocol
from floatbench.synthetic.clip import SyntheticClip, parse_id
from floatbench.synthetic.expression import EMOTIONS, EXPRESSION
from floatbench.synthetic.identity import TRAITS, make_identity
from floatbench.synthetic.phones import PHONES
from floatbench.synthetic.renderer import Renderer


def _protocol(*clips: Clip, size: int = 64) -> Protocol:
    rule = Preprocessing(spec="rendered", boxes="none", size=size)
    return Protocol(id="tiny", dataset="synthetic", preprocessing=rule, metrics=("fid-tiny",), clips=clips)


def test_the_same_numbers_give_the_same_clip_whatever_was_rendered_before_and_by_how_many_threads():
    first = SyntheticClip(5, 1, 0.4)
    alone = first.media(64)
    SyntheticClip(6, 0, 0.2).media(96)
    again = SyntheticClip(5, 1, 0.4).media(64, threads=2)
    assert alone.pixels_sha256 == again.pixels_sha256
    assert alone.pcm_sha256 == again.pcm_sha256


def test_another_number_seed_or_person_gives_another_clip():
    base = SyntheticClip(5, 1, 0.4)
    for other in (SyntheticClip(5, 2, 0.4), SyntheticClip(6, 1, 0.4), SyntheticClip(5, 1, 0.4, seed=1)):
        assert not np.array_equal(base.pose, other.pose)
        assert not np.array_equal(base.audio(), other.audio())


def test_a_clip_has_25_frames_and_16000_samples_a_second_and_truth_for_every_frame():
    clip = SyntheticClip(7, 0, 0.48)
    media, truth = clip.media(64), clip.truth()
    assert media.frames.shape == (12, 64, 64, 3)
    assert media.audio is not None and media.audio.shape == (12 * 640,)
    assert truth["pose"].shape == (12, 6) and truth["expression"].shape == (12, len(EXPRESSION))
    assert truth["identity"].shape == (len(TRAITS),) and truth["phones"].shape == (12,)
    assert truth["phones"].min() >= 0 and truth["phones"].max() < len(PHONES)
    assert 0 <= int(truth["emotion"]) < len(EMOTIONS)


@pytest.mark.parametrize("size", [64, 100, 512])
def test_every_size_from_64_to_512_is_rendered(size):
    frame = SyntheticClip(3, 0, 0.04).frames(size)
    assert frame.shape == (1, size, size, 3) and frame.std() > 10


def test_a_larger_picture_shows_the_same_scene():
    small, large = (SyntheticClip(3, 0, 0.04).frames(size)[0].astype(float) for size in (64, 256))
    shrunk = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 4


@pytest.mark.parametrize("size", [63, 513, 0, -1])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(UsageError, match="64 to 512 px"):
        Renderer(make_identity(0), size)


@pytest.mark.parametrize(
    "numbers", [{"number": -1}, {"identity": -1}, {"seconds": 0.0}, {"seconds": 1e9}, {"emotion": "bored"}]
)
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(UsageError):
        SyntheticClip(**({"identity": 1} | numbers)).truth()


@pytest.mark.parametrize("name", ["", "syn-3", "id3-1", "syn-3-x", "syn--3-1", "syn-3-1/../x"])
def test_only_names_of_synthetic_clips_are_understood(name):
    with pytest.raises(UsageError, match="not a synthetic clip"):
        parse_id(name)


def test_the_dataset_gives_what_the_clip_says():
    clip = Clip(id="syn-90002-1", identity="syn-90002", start_s=0.0, end_s=0.2, labels={"emotion": "sad"})
    dataset = SyntheticDataset(_protocol(clip))
    assert [a.state for a in dataset.availability()] == ["ready"]
    reference = dataset.load(clip)
    same = SyntheticClip(90002, 1, 0.2, emotion="sad")
    assert reference.media.pixels_sha256 == same.media(64).pixels_sha256
    assert np.array_equal(reference.source, reference.media.frames[0])
    assert reference.truth is not None and int(reference.truth["emotion"]) == EMOTIONS.index("sad")


def test_the_dataset_refuses_a_cut_in_the_middle():
    clip = Clip(id="syn-90002-1", identity="syn-90002", start_s=1.0, end_s=2.0)
    with pytest.raises(UsageError, match="start at 0 s"):
        SyntheticDataset(_protocol(clip)).load(clip)
