"""Configurations, clips, batches, and the rewriting of the auto-encoder between the phases."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.training.autoencoder_phase import AutoencoderPhase
from floatbench.training.batches import (
    MotionClip,
    draw_pairs,
    draw_windows,
    known_emotions,
    mirror_boxes,
    reference_frame,
    step_random,
)
from floatbench.training.clips import ClipOrder, ClipPool, ClipSet, RenderedClips, TrainingClip, pool_indices, usable
from floatbench.training.coefficients import motion_clips, standardise
from floatbench.training.config import AutoencoderConfig, TinyAutoencoderConfig
from floatbench.training.configs import CONFIGS, load_config
from floatbench.training.data_config import DataConfig
from floatbench.training.loop import rate_at
from floatbench.training.losses.dropout import DropRates
from floatbench.training.tiny.phase import TinyAutoencoderPhase, phase_class
from floatbench.training.train import coefficient_scale


def test_float_512_has_the_numbers_of_the_paper():
    c = CONFIGS["float-512"]
    a, f = c.autoencoder, c.flow
    weights = (a.l1, a.perceptual, a.component, a.full_adv, a.eye_adv, a.eye_style, a.lip_adv, a.lip_style)
    assert weights == (1, 10, 100, 1, 1, 100, 1, 100)
    assert (a.steps, a.batch, a.rate) == (460_000, 8, 2e-4)
    assert type(a) is AutoencoderConfig and phase_class(a) is AutoencoderPhase
    assert (f.steps, f.batch, f.rate, f.ot, f.velocity) == (2_000_000, 8, 1e-5, 1, 1)
    assert c.data.names == ["hdtf-train", "ravdess-train", "frames:vfhq"] and c.data.pool == 0
    drop = f.drop
    assert (drop.wa, drop.wr, drop.we, drop.prev_x, drop.prev_wa) == (0.1, 0.1, 0.1, 0.5, 0.5)


def test_a_file_changes_single_fields_and_refuses_unknown_ones(tmp_path: Path):
    file = tmp_path / "mine.toml"
    text = 'base = "float-tiny"\n[flow]\nrate = 1\n[flow.drop]\nwa = 0.3\n[autoencoder]\nscales = [1, 4]\n'
    file.write_text(f"{text}[sampling]\nnfe = 5\n")
    c = load_config(str(file))
    assert (c.name, c.flow.rate, c.flow.drop.wa, c.autoencoder.scales) == ("mine", 1.0, 0.3, (1, 4))
    assert c.flow.batch == CONFIGS["float-tiny"].flow.batch and c.sampling == {"nfe": 5}
    assert c.hash("flow") == replace(c, sampling={}).hash("flow")  # a training goes on whatever the model will take
    for text, message in (
        ('base = "float-tiny"\n[flow]\nlearning = 1\n', "unknown key flow.'learning'"),
        (
            'base = "float-tiny"\n[autoencoder]\nnetwork = "vgg16"\n',
            "autoencoder.network: should be 'vgg19' or 'random'",
        ),
        ('base = "float-tiny"\n[flow]\nsteps = "many"\n', "flow.steps: should be a valid integer"),
        ('base = "float-tiny"\n[flow]\nsteps = 0\n', "flow.steps: should be greater than or equal to 1, not 0"),
        ('base = "float-tiny"\n[model]\nimage_size = 65\n', "image_size"),
        ('base = "float-tiny"\n[sampling]\nnfe = 0\n', "nfe: should be greater than or equal to 1, not 0"),
        ('base = "float-tiny"\n[sampling]\nsteps = 5\n', "unknown sampling option 'steps'"),
        ('base = "float-tiny"\nsampling = 5\n', "sampling: should be"),
        ('base = "big"\n', "`base` must be one of"),
        ("base = [", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match="") as caught:
            load_config(str(file))
        assert message in str(caught.value)


def test_a_value_of_the_wrong_kind_or_range_is_one_line_that_names_its_field():
    c = CONFIGS["float-tiny"]
    for change, line in (
        (lambda: replace(c.flow, rate=-1.0), "rate: should be greater than or equal to 0, not -1.0"),
        (lambda: replace(c.data, pool="5"), "pool: should be a valid integer, not '5'"),
        (lambda: DropRates(wa=1.5), "wa: should be less than or equal to 1, not 1.5"),
        (lambda: DataConfig(pol=5), "pol: unknown key"),  # pyright: ignore
        (
            lambda: replace(c, model=replace(c.model, dim_m=6, reader=False, painter=False)),
            "the true motion has 20 numbers, the model dim_m 6",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            change()
        assert str(caught.value) == line


def test_a_file_may_give_the_papers_phase_a_shortcut_and_keeps_the_checkpoints_it_made_before(tmp_path: Path):
    file = tmp_path / "mixed.toml"
    file.write_text('base = "float-512"\n[autoencoder]\nboth_ways = true\nrate = 1e-3\n')
    mixed = load_config(str(file)).autoencoder
    assert isinstance(mixed, TinyAutoencoderConfig) and phase_class(mixed) is TinyAutoencoderPhase
    assert mixed.both_ways and (mixed.rate, mixed.r1, mixed.encoder) == (1e-3, 10, "trained")
    file.write_text('base = "float-512"\nname = "float-512"\n[autoencoder]\nboth_ways = false\n')
    plain = load_config(str(file))
    assert plain.hash("autoencoder") == CONFIGS["float-512"].hash("autoencoder")


def test_checkpoints_of_version_0_1_go_on_with_the_settings_of_that_version():
    hdtf = replace(CONFIGS["float-512"], data=DataConfig(protocol="hdtf-train", pool=64))
    now = CONFIGS["float-tiny"]
    flow = replace(
        now.flow, decay_from=0.3, velocity=4.0, face_velocity=0.0, head_square=0.0, seam=0.0, previous_loss="clean",
        drop=DropRates(), begin_at_source=False,
    )  # fmt: skip
    blind = replace(now, model=replace(now.model, reader=False, painter=False))
    tiny = replace(blind, model=replace(blind.model, attention_window=2), flow=flow)
    assert blind.hash("autoencoder") == tiny.hash("autoencoder")  # phase 1 of then may be followed by phase 2 of now
    configs = {"float-512": hdtf, "float-tiny": tiny}
    hashes = {name: (c.hash("autoencoder")[:12], c.hash("flow")[:12]) for name, c in configs.items()}
    assert hashes == {
        "float-512": ("50ed3de8fd6b", "685e0b263a5d"),
        "float-tiny": ("c5b05cd60a63", "24af7632f139"),
    }


def test_the_stand_in_network_is_refused_for_the_official_model(tmp_path: Path):
    file = tmp_path / "cheap.toml"
    file.write_text('base = "float-512"\n[autoencoder]\nnetwork = "random"\n')
    with pytest.raises(UsageError, match="only for float-tiny"):
        load_config(str(file))


def test_the_hash_of_a_phase_ignores_how_long_it_runs_and_nothing_else():
    c = CONFIGS["float-tiny"]
    longer = replace(c, flow=replace(c.flow, steps=9, save_every=1))
    assert longer.hash("flow") == c.hash("flow")
    assert replace(c, flow=replace(c.flow, clip=2.0)).hash("flow") != c.hash("flow")
    assert replace(c, flow=replace(c.flow, clip=2.0)).hash("autoencoder") == c.hash("autoencoder")


def test_people_of_protocols_never_enter_training():
    with pytest.raises(UsageError, match="protocols"):
        RenderedClips(64, 10, first=89_995)


def test_boxes_of_a_synthetic_mouth_follow_the_pose_and_hold_the_changing_pixels(clips):
    clip = clips.load(0)
    assert clip.boxes.shape == (25, 3, 4) and (clip.boxes[..., 2:] > clip.boxes[..., :2]).all()
    jaw = clip.truth["expression"][:, 0]
    still = np.abs(clip.truth["pose"] - clip.truth["pose"][jaw.argmin()]).sum(1)
    other = int(np.argmax((jaw - jaw.min()) / (0.2 + still)))
    change = np.abs(clip.frames[other].astype(float) - clip.frames[jaw.argmin()]).mean(-1)
    x0, y0, x1, y1 = (clip.boxes[other, 0] * 64).round().astype(int)
    assert change[y0:y1, x0:x1].mean() > 1.5 * change.mean()


def test_a_batch_depends_on_seed_and_step_only(clips):
    pool = ClipPool(clips, range(3), 8, 1)
    first, again = (draw_pairs(pool, 4, 0, 7, True).on("cpu") for _ in range(2))
    assert torch.equal(first.source, again.source) and torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.source, draw_pairs(pool, 4, 0, 8, True).on("cpu").source)
    assert first.source.shape == (4, 3, 64, 64) and float(first.source.abs().max()) <= 1


def test_mirrored_boxes_swap_the_eyes_and_keep_unknown_ones():
    boxes = np.array([[0.2, 0.6, 0.7, 0.9], [0.1, 0.2, 0.3, 0.4], [0.6, 0.2, 0.9, 0.4]], np.float32)
    turned = mirror_boxes(boxes)
    assert np.allclose(turned, [[0.3, 0.6, 0.8, 0.9], [0.1, 0.2, 0.4, 0.4], [0.7, 0.2, 0.9, 0.4]])
    assert np.array_equal(mirror_boxes(np.zeros((3, 4), np.float32)), np.zeros((3, 4)))


def test_a_pool_smaller_than_the_data_walks_through_all_of_it_one_clip_at_a_time():
    seen: set[int] = set()
    before: set[int] = set()
    for step in range(0, 70, 10):
        now = pool_indices(ClipOrder(range(7)), 3, 10, step)
        assert len(set(now)) == 3 and (not before or len(before - set(now)) == 1)
        before = set(now)
        seen |= before
    assert seen == set(range(7))
    assert pool_indices(ClipOrder(range(3)), 8, 10, 5) == [0, 1, 2]


def test_windows_hold_sound_and_motion_of_the_same_frames():
    coefficients = np.arange(30, dtype=np.float32)[:, None]
    audio = np.repeat(np.arange(30), 640).astype(np.int16)
    drawn = draw_windows([MotionClip("a", coefficients, audio, 3)], 16, 14, 0, 0, "outside")
    sound = (drawn.wave * 32768).reshape(16, 14, 640)
    assert torch.equal(sound.mean(-1).round(), drawn.coefficients[..., 0])
    first = drawn.coefficients[:, 0, 0]
    outside = (drawn.reference[:, 0] < first) | (drawn.reference[:, 0] >= first + 14)
    assert bool(outside.all())
    with pytest.raises(DataError, match="31 frames"):
        draw_windows([MotionClip("a", coefficients, audio, 3)], 1, 31, 0, 0, "any")


def test_windows_come_as_often_as_the_shares_of_their_data_sets_say():
    def clip(label: int, frames: int, share: int) -> MotionClip:
        return MotionClip("a", np.zeros((frames, 2), np.float32), np.zeros(640 * frames, np.int16), label, share=share)

    shared = draw_windows([clip(0, 23, 1), clip(1, 33, 3)], 4_000, 14, 0, 5, "any").emotion
    assert float(shared.float().mean()) == pytest.approx(3 * 20 / (10 + 3 * 20), abs=0.02)
    alike = draw_windows([clip(0, 23, 1), clip(1, 33, 1)], 64, 14, 0, 5, "any").emotion
    room = np.array([10, 20])  # without shares the draws are those of trainings that had none
    before = step_random(0, 5, "windows").choice(2, size=64, p=room / room.sum())
    assert alike.tolist() == before.tolist()


def test_reference_frames_lie_where_they_should():
    rng = np.random.default_rng(0)
    assert {reference_frame(rng, 12, 4, 5, "inside") for _ in range(200)} == set(range(4, 9))
    assert {reference_frame(rng, 12, 4, 5, "outside") for _ in range(200)} == set(range(4)) | set(range(9, 12))
    assert {reference_frame(rng, 12, 4, 5, "either") for _ in range(400)} == set(range(12))


def test_unknown_emotions_are_zero_rows():
    one_hot, known = known_emotions(torch.tensor([2, -1]), 7)
    assert known.tolist() == [True, False] and one_hot.sum(1).tolist() == [1.0, 0.0] and float(one_hot[0, 2]) == 1


class _SomeBroken(ClipSet):
    def __init__(self, inner, broken: int, total: int) -> None:
        self.inner, self.broken, self.total = inner, broken, total

    def __len__(self) -> int:
        return self.total

    def load(self, index: int):
        if index < self.broken:
            raise ClipError("truncated", "cut short")
        return self.inner.load(0)


def test_unusable_clips_are_left_out_with_a_note_and_too_many_are_an_error(clips):
    assert usable(_SomeBroken(clips, 1, 6), 2, NullProgress()) == [1, 2, 3, 4, 5]
    with pytest.raises(DataError, match="2 of 6 training clips are unusable"):
        usable(_SomeBroken(clips, 2, 6), 2, NullProgress())


def test_standardised_coefficients_give_the_same_pictures(clips, toy):
    torch.manual_seed(0)
    model = FloatModel(toy.model).eval()
    ae = model.motion_autoencoder
    with torch.no_grad():
        for layer in ae.enc.fc:
            layer.bias.normal_()
    pair = draw_pairs(ClipPool(clips, range(3), 8, 1), 3, 0, 0, False).on("cpu")
    with torch.no_grad():
        before = ae.transfer(pair.source, pair.driving)
        old = ae.coefficients(ae.encode(pair.driving)[0])
        mean, gain = coefficient_scale(old, toy.model.dim_w)
        standardise(ae, mean, gain)
        new = ae.coefficients(ae.encode(pair.driving)[0])
        after = ae.transfer(pair.source, pair.driving)
    assert torch.allclose(after, before, atol=2e-4 * float(before.abs().max()))
    assert torch.allclose(new, gain * (old - mean), atol=1e-3)
    assert float(new.square().mean()) == pytest.approx(toy.model.dim_w / toy.model.dim_m, rel=1e-3)


def test_cached_coefficients_are_those_of_the_auto_encoder_and_are_reused(clips, toy, tmp_path):
    torch.manual_seed(0)
    ae = FloatModel(toy.model).motion_autoencoder
    cache = tmp_path / "coefficients.safetensors"
    first = motion_clips(clips, [0, 1], ae, cache)
    with torch.no_grad():
        ae.enc.fc[0].weight.zero_()
    again = motion_clips(clips, [0, 1], ae, cache)
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(first, again, strict=True))
    assert first[0].coefficients.shape == (25, 6) and first[0].coefficients.std() > 0


def test_the_rate_rises_stays_and_falls_to_a_tenth():
    assert rate_at(0, 100, 1.0, 10, 0.5) == pytest.approx(0.1)
    assert rate_at(30, 100, 1.0, 10, 0.5) == 1.0
    assert rate_at(75, 100, 1.0, 10, 0.5) == pytest.approx(0.55)
    assert rate_at(99, 100, 1.0, 10, 0.5) == pytest.approx(0.1, abs=2e-3)
    assert rate_at(99, 100, 1.0, 0, 1.0) == 1.0


class _Counted(ClipSet):
    """Clips of one frame that know how often and where they were loaded; number `broken` cannot be."""

    def __init__(self, total: int, broken: int = -1) -> None:
        self.total, self.broken = total, broken
        self.loads: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return self.total

    def load(self, index: int) -> TrainingClip:
        self.loads.append((index, threading.current_thread().name))
        if index == self.broken:
            raise ClipError("damaged", f"clip {index}")
        frames = np.full((1, 4, 4, 3), index, np.uint8)
        return TrainingClip(str(index), "", frames, np.zeros(640, np.int16), np.zeros((1, 3, 4), np.float32), -1, {})


def test_a_pool_that_loads_ahead_holds_the_same_clips_and_loads_each_only_when_it_comes_in():
    alone, ahead = _Counted(7), _Counted(7)
    plain, pool = ClipPool(alone, range(7), 3, 2), ClipPool(ahead, range(7), 3, 2)
    before = set(threading.enumerate())
    with pool:
        for step in range(24):
            assert [clip.id for clip in pool.at(step)] == [clip.id for clip in plain.at(step)]
    assert set(threading.enumerate()) == before
    assert [index for index, _ in ahead.loads][: len(alone.loads)] == [index for index, _ in alone.loads]
    assert len(ahead.loads) <= len(alone.loads) + 1
    assert all(thread.startswith("training-clips") for _, thread in ahead.loads)
    assert [clip.id for clip in pool.at(24)] == [clip.id for clip in plain.at(24)]  # after the thread, too


def test_a_clip_is_loaded_while_the_steps_before_it_are_taken():
    clips = _Counted(4)
    with ClipPool(clips, range(4), 2, 5) as pool:
        pool.at(0)
        for _ in range(500):
            if len(clips.loads) == 3:
                break
            time.sleep(0.01)
        assert [index for index, _ in clips.loads] == [0, 1, 2]
        pool.at(4)
        assert len(clips.loads) == 3
        pool.at(5)
        assert 2 in pool._held


def test_a_clip_that_fails_ahead_fails_the_step_that_needs_it_and_no_earlier_one():
    before = set(threading.enumerate())
    with pytest.raises(ClipError, match="clip 2"), ClipPool(_Counted(4, broken=2), range(4), 2, 3) as pool:
        for step in range(3):
            assert [clip.id for clip in pool.at(step)] == ["0", "1"]
        pool.at(3)
    assert set(threading.enumerate()) == before


def test_a_pool_that_jumps_to_another_step_forgets_what_it_began_to_load():
    with ClipPool(_Counted(9), range(9), 2, 1) as pool:
        pool.at(0)
        assert [clip.id for clip in pool.at(5)] == ["6", "5"]
        assert set(pool._coming) == {7}
