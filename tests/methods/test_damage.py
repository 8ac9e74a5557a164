"""The damages keep the length, leave the input alone and do what their names say; controls carry them into a run."""

import numpy as np
import pytest

from floatbench.errors import ClipError, UsageError
from floatbench.methods.controls import CONTROLS, control, shift_audio
from floatbench.methods.damage import PICTURE_DAMAGES
from floatbench.methods.method import ClipRequest
from floatbench.types import ClipMedia


def clip(seed=0, frames=30, side=256):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    pictures = np.stack([np.roll(base, t, 1) for t in range(frames)])
    return ClipMedia(pictures, rng.integers(-9000, 9000, 640 * frames, dtype=np.int16))


def made(name, subject, partner=None, folder=None):
    """What a control makes of a clip: its pictures and its sound."""
    method = control(name)
    request = ClipRequest(
        "c", "c", subject.frames[0], subject.audio, subject.n_frames, 5, folder, reference=subject, partner=partner
    )
    output = method.generate(request)
    return output.media.frames, output.media.audio if output.audio is None else output.audio


@pytest.mark.parametrize("damage", PICTURE_DAMAGES.values(), ids=lambda d: d.name)
def test_every_damage_is_pure_keeps_the_length_and_grows_with_its_strength(damage):
    subject = clip(0)
    before = subject.frames.copy()
    changes = []
    for strength in damage.strengths:
        damaged = damage.apply(subject.frames, strength, 5)
        again = damage.apply(subject.frames, strength, 5)
        assert damaged.shape == subject.frames.shape and damaged.dtype == np.uint8
        np.testing.assert_array_equal(damaged, again)
        changes.append(np.abs(damaged.astype(int) - subject.frames).mean())
    assert min(changes) > 0
    if damage.name not in ("speed", "jitter"):  # there a greater strength is no greater pixel difference
        assert changes == sorted(changes)
    np.testing.assert_array_equal(subject.frames, before)


@pytest.mark.parametrize("shift", [-7, 0, 7])
def test_a_sound_shift_moves_whole_frames_and_pads_with_silence(shift):
    subject = clip()
    moved = shift_audio(subject.audio, shift).reshape(-1, 640)
    original = subject.audio.reshape(-1, 640)
    for t in range(30):
        expected = original[t - shift] if 0 <= t - shift < 30 else np.zeros(640)
        np.testing.assert_array_equal(moved[t], expected)


@pytest.mark.parametrize(
    ("full", "plain"), [("freeze:1", "frozen"), ("swapped:1", "swapped"), ("wrong-identity:1.0", "wrong-identity")]
)
def test_full_strength_is_the_control_of_every_run(full, plain):
    assert control(full).name == plain and plain in CONTROLS
    subject, partner = clip(0), clip(1, frames=20)
    for one, other in zip(made(full, subject, partner), made(plain, subject, partner), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_damages_of_the_control_rules_have_a_word():
    words = {word: control(word).name for word in ("jittered", "drifting", "fading", "mirrored")}
    damages = {"jittered": "jitter:4", "drifting": "crop-drift:8", "fading": "fade:20"}
    assert words == damages | {"mirrored": "mirrored"}


def test_a_fading_picture_loses_its_colour_in_a_straight_line_and_keeps_its_light():
    frames = np.zeros((5, 40, 40, 3), np.uint8)
    frames[..., 0] = 200  # pure red: its grey is 0.299 * 200 = 60
    faded = PICTURE_DAMAGES["fade"].apply(frames, 40, 0)[:, 20, 20].astype(int)
    shares = 0.4 * np.arange(5) / 4
    np.testing.assert_allclose(faded[:, 0], 200 - shares * 140, atol=1)
    np.testing.assert_allclose(faded[:, 1], shares * 60, atol=1)


def test_mirrored_exchanges_left_and_right_and_keeps_the_sound():
    subject = clip()
    pictures, sound = made("mirrored", subject)
    np.testing.assert_array_equal(pictures[:, :, ::-1], subject.frames)
    np.testing.assert_array_equal(sound, subject.audio)


def test_a_flat_emotion_is_the_neutral_clip_back_and_forth_with_the_right_sound():
    subject, neutral = clip(0), clip(1, frames=20)
    pictures, sound = made("emotion-flat", subject, neutral)
    np.testing.assert_array_equal(pictures[:20], neutral.frames)
    np.testing.assert_array_equal(pictures[20:30], neutral.frames[18:8:-1])
    np.testing.assert_array_equal(sound, subject.audio)
    with pytest.raises(ClipError, match="no_partner"):
        made("emotion-flat", subject)


def test_a_share_changes_the_last_part_only():
    subject, partner = clip(0), clip(1)
    pictures, sound = made("wrong-identity:0.5", subject, partner)
    np.testing.assert_array_equal(pictures[:15], subject.frames[:15])
    np.testing.assert_array_equal(pictures[15:], partner.frames[15:])
    np.testing.assert_array_equal(sound, subject.audio)
    pictures, sound = made("swapped:0.5", subject, partner)
    np.testing.assert_array_equal(pictures, subject.frames)
    np.testing.assert_array_equal(sound[: 15 * 640], subject.audio[: 15 * 640])
    np.testing.assert_array_equal(sound[15 * 640 :], partner.audio[15 * 640 :])


def test_a_partner_of_another_size_takes_the_size_of_the_clip():
    pictures, _ = made("wrong-identity:0.5", clip(0), clip(1, side=128))
    assert pictures.shape == (30, 256, 256, 3)


def test_what_a_control_needs_and_a_clip_lacks_is_named():
    silent = ClipMedia(clip().frames)
    with pytest.raises(ClipError, match="no_audio"):
        made("swapped:0.5", silent, clip(1))
    with pytest.raises(ClipError, match="no_partner"):
        made("wrong-identity", silent)
    with pytest.raises(ClipError, match="no_partner"):
        made("swapped", clip(), silent)


@pytest.mark.parametrize(
    "name", ["blur:", "blur:0", "blur:x", "freeze:1.5", "swapped:-1", "wrong-identity:2", "jpeg:101"]
)
def test_a_strength_that_is_none_is_refused_with_an_example(name):
    with pytest.raises(UsageError, match="strength") as caught:
        control(name)
    assert control((caught.value.fix or "").split()[-1]) is not None


def test_what_is_no_control_is_none():
    assert control("blur") is None and control("float") is None and control("videos:blur:5") is None
