"""The damages keep the length, leave the input alone and do what their names say."""

import numpy as np
import pytest

from floatbench.errors import ClipError, UsageError
from floatbench.methods.damage import DAMAGES, chosen, sound_shift
from floatbench.types import ClipMedia


def clip(seed=0, frames=30, side=256):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    pictures = np.stack([np.roll(base, t, 1) for t in range(frames)])
    return ClipMedia(pictures, rng.integers(-9000, 9000, 640 * frames, dtype=np.int16))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.name)
def test_every_damage_is_pure_keeps_the_length_and_grows_with_its_strength(damage):
    subject, partner = clip(0), clip(1, frames=20)
    before = subject.frames.copy(), subject.audio.copy()
    changes = []
    for strength in damage.strengths:
        damaged = damage.apply(subject, strength, partner, 5)
        again = damage.apply(subject, strength, partner, 5)
        assert damaged.frames.shape == subject.frames.shape and damaged.audio.shape == subject.audio.shape
        assert damaged.pixels_sha256 == again.pixels_sha256 and damaged.pcm_sha256 == again.pcm_sha256
        pictures = np.abs(damaged.frames.astype(int) - subject.frames).mean()
        sound = np.abs(damaged.audio.astype(int) - subject.audio).mean()
        assert (pictures > 0) != (sound > 0) and (sound > 0) == damage.sound
        changes.append(pictures + sound)
    if damage.name not in ("sound-shift", "speed", "jitter"):  # there a greater strength is no greater pixel difference
        assert changes == sorted(changes)
    np.testing.assert_array_equal(subject.frames, before[0])
    np.testing.assert_array_equal(subject.audio, before[1])


@pytest.mark.parametrize("shift", [-7, 0, 7])
def test_a_sound_shift_moves_whole_frames_and_pads_with_silence(shift):
    subject = clip()
    moved = sound_shift(subject, shift, None, 0).audio.reshape(-1, 640)
    original = subject.audio.reshape(-1, 640)
    for t in range(30):
        expected = original[t - shift] if 0 <= t - shift < 30 else np.zeros(640)
        np.testing.assert_array_equal(moved[t], expected)


def test_full_strength_is_the_control_of_the_same_name():
    subject, partner = clip(0), clip(1)
    by_name = {d.name: d for d in DAMAGES}
    frozen = by_name["freeze"].apply(subject, 1.0, None, 0).frames
    assert (frozen == subject.frames[0]).all()
    np.testing.assert_array_equal(by_name["wrong-identity"].apply(subject, 1.0, partner, 0).frames, partner.frames)
    np.testing.assert_array_equal(by_name["swapped-sound"].apply(subject, 1.0, partner, 0).audio, partner.audio)


def test_what_a_damage_needs_and_a_clip_lacks_is_named():
    silent = ClipMedia(clip().frames)
    with pytest.raises(ClipError, match="no_audio"):
        sound_shift(silent, 2, None, 0)
    with pytest.raises(ClipError, match="no_partner"):
        next(d for d in DAMAGES if d.name == "wrong-identity").apply(silent, 1.0, None, 0)


def test_kinds_and_greatest_strengths_can_be_chosen():
    assert chosen() == DAMAGES
    (blur, freeze) = chosen(["freeze", "blur"], 1)
    assert (blur.name, blur.strengths, freeze.strengths) == ("blur", DAMAGES[0].strengths[-1:], (1.0,))
    with pytest.raises(UsageError, match="unknown damage 'blurr'"):
        chosen(["blurr"])
