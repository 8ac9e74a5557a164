"""What training takes from the ground truth: tracks, changes of motion, and an encoder solved by least squares."""

from __future__ import annotations

import dataclasses
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.model.autoencoder import ToFlow, sampling_grid
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel
from floatbench.synthetic.clip import SyntheticClip
from floatbench.training import clips as clips_module
from floatbench.training.batches import MotionClip, draw_windows, pictures
from floatbench.training.clips import ClipPool, RenderedClips, component_boxes
from floatbench.training.config import TRUE_MOTIONS
from floatbench.training.configs import CONFIGS
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.ground_truth import MIRRORED, MOTION_NAMES, mirror_tracks, surface_tracks, true_motion
from floatbench.training.held_out import psnr
from floatbench.training.losses.components import MOUTH
from floatbench.training.tiny.copy_start import start_as_copy
from floatbench.training.tiny.encoder_start import ENOUGH, _chosen_ridges, _regression, solve_encoder
from floatbench.training.tiny.losses import choose, motion_loss, warp_loss
from floatbench.training.tiny.pairs import draw_tiny_pairs
from floatbench.training.tiny.phase import TinyAutoencoderPhase, exchanged


def _pool(clips) -> ClipPool:
    return ClipPool(clips, range(len(clips)), 99, 1)


def test_the_warp_term_is_the_distance_between_where_the_decoder_looks_and_where_the_point_is():
    points = torch.rand(2, 9, 3) * 1.2 - 0.6
    points[..., 2] = 1
    identity = sampling_grid(64, "pixel_centre").repeat(2, 1, 1, 1)
    assert float(warp_loss(identity, points, points)) == pytest.approx(0, abs=1e-6)
    moved = points + torch.tensor([0.1, 0.05, 0.0])
    assert float(warp_loss(identity, moved, points)) == pytest.approx(0.15, abs=1e-5)
    hidden = points.clone()
    hidden[:, :, 2] = 0
    assert float(warp_loss(identity, moved, hidden)) == 0.0


def test_the_motion_term_and_the_choice_have_their_closed_forms():
    a, b = torch.zeros(3, 4), torch.full((3, 4), 0.5)
    assert float(motion_loss(a, b)) == pytest.approx(0.5)
    assert choose(a, b, torch.tensor([True, False, True]))[:, 0].tolist() == [0.5, 0.0, 0.5]


def test_tracks_follow_the_head_and_mirror_with_it():
    clip = SyntheticClip(3, 0, 1.0, 5)
    tracks = surface_tracks(clip).astype(float)
    seen = tracks[..., 2] > 0
    assert seen.mean() > 0.3 and (np.abs(tracks[seen][:, :2]) < 1).all()
    boxes = component_boxes(clip)[:, MOUTH] * 2 - 1
    inside = ((tracks[..., :2] > boxes[:, None, :2]) & (tracks[..., :2] < boxes[:, None, 2:])).all(-1) & seen
    assert inside.all(0).any()  # a point of the mouth stays in its box, however the head moves
    assert (mirror_tracks(mirror_tracks(tracks)) == tracks).all()
    assert len(MOTION_NAMES) == len(MIRRORED) == TRUE_MOTIONS


def test_pairs_go_both_ways_and_carry_the_change_of_motion(clips):
    pairs = draw_tiny_pairs(_pool(clips), 6, 1, 4, flip=True, both_ways=True, relative=0.5)
    assert pairs.truth is not None
    assert (pairs.source == exchanged(pairs.driving)).all()
    assert torch.allclose(pairs.truth.change, -exchanged(pairs.truth.change))
    assert torch.allclose(pairs.truth.change, pairs.truth.motion - exchanged(pairs.truth.motion), atol=1e-6)
    assert (pairs.truth.source_tracks == exchanged(pairs.truth.driving_tracks)).all()


def test_clips_without_ground_truth_cannot_give_their_change_of_motion(clips):
    blind = [replace(clip, truth={}) for clip in _pool(clips).at(0)]
    pool = _pool(clips)
    pool._held = dict(enumerate(blind))
    with pytest.raises(DataError, match="ground truth"):
        draw_tiny_pairs(pool, 2, 0, 0, flip=False, relative=1.0)


def test_the_solved_encoder_sees_the_motion_of_its_pictures_and_leaves_the_motion_space_free(clips, toy):
    torch.manual_seed(1)
    model = replace(toy.model, dim_w=48, dim_m=TRUE_MOTIONS, channel_max=16)
    autoencoder = FloatModel(model).motion_autoencoder
    solve_encoder(autoencoder, _pool(clips))
    autoencoder.eval()
    seen, true = [], []
    for clip in _pool(clips).at(0):
        with torch.no_grad():
            latent = autoencoder.encode(pictures(clip.frames[::5]))[0]
            seen.append(autoencoder.coefficients(latent))
            assert float(autoencoder.project(latent).abs().max()) < 1e-3 * float(latent.abs().max())
        true.append(torch.from_numpy(true_motion(clip.truth["pose"], clip.truth["expression"])[::5]))
    found, wanted = torch.cat(seen), torch.cat(true)
    left = (found - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert float(left) < 0.5
    with pytest.raises(UsageError, match="dim_w"):
        solve_encoder(FloatModel(toy.model).motion_autoencoder, _pool(clips))


def test_a_coefficient_that_nobody_can_see_is_left_at_its_mean():
    rng = torch.Generator().manual_seed(3)
    seen = [torch.randn(8, 5, generator=rng, dtype=torch.float64) for _ in range(ENOUGH)]
    true = [torch.stack([2 * x[:, 0], torch.randn(8, generator=rng, dtype=torch.float64)], 1) for x in seen]
    ridges = _chosen_ridges(seen, true)
    assert ridges[0] == 1.0 and ridges[1] == float("inf")
    weights = _regression(torch.cat(seen), torch.cat(true), ridges)
    assert (weights[:, 1] == 0).all()
    assert weights[:, 0].tolist() == pytest.approx([2, 0, 0, 0, 0], abs=0.05)
    assert (_chosen_ridges(seen[:3], true[:3]) == 1.0).all()  # too few clips to spare some


def test_a_copying_decoder_starts_at_the_source_picture(clips, toy):
    torch.manual_seed(2)
    autoencoder = FloatModel(toy.model).motion_autoencoder.eval()
    picture = pictures(clips.load(0).frames[:2])
    with torch.no_grad():
        for head in autoencoder.dec.to_flows:
            assert isinstance(head, ToFlow)
            head.conv.weight.zero_()
        latent, features = autoencoder.encode(picture)
        assert psnr(autoencoder.decode(latent, features)[0], picture) < 15
        start_as_copy(autoencoder)
        latent, features = autoencoder.encode(picture)
        assert psnr(autoencoder.decode(latent, features)[0], picture) > 30
        autoencoder.dec.to_flows[-1].bias[:, 2] = -20  # a closed mask is dark
        assert float(autoencoder.decode(latent, features)[0].mean()) < -0.9


def test_pairs_across_clips_stay_with_the_person_and_know_the_change():
    two = ClipPool(RenderedClips(64, 2, per_identity=2, seconds=0.2, seed=3), range(4), 9, 1)
    held = two.at(0)
    frames = {clip.id: pictures(clip.frames) for clip in held}

    def clip_of(picture: torch.Tensor) -> str:
        return next(name for name, rows in frames.items() if (rows == picture).flatten(1).all(1).any())

    for share, same in ((0.0, True), (1.0, False)):
        pairs = draw_tiny_pairs(two, 8, 0, 0, flip=False, relative=1.0, across=share).on("cpu")
        names = [(clip_of(a), clip_of(b)) for a, b in zip(pairs.source, pairs.driving, strict=True)]
        assert all((a == b) == same and a.rsplit("-", 1)[0] == b.rsplit("-", 1)[0] for a, b in names)
    assert pairs.truth is not None
    for number, (a, b) in enumerate(names):
        clips_ = [next(clip for clip in held if clip.id == name) for name in (a, b)]
        at = [int((frames[c.id] == p).flatten(1).all(1).nonzero()[0]) for c, p in
              zip(clips_, (pairs.source[number], pairs.driving[number]), strict=True)]  # fmt: skip
        before, after = (
            true_motion(c.truth["pose"], c.truth["expression"])[i] for c, i in zip(clips_, at, strict=True)
        )
        assert np.allclose(pairs.truth.change[number], after - before, atol=1e-6)


def test_a_source_may_have_the_face_of_another_clip_of_the_same_person():
    def clip(name: str, who: str, level: float) -> MotionClip:
        track = np.full((20, 8), level, np.float32)
        return MotionClip(
            name, track, np.zeros(20 * 640, np.int16), 0, references=track[::5] * 0, identity=who, every=5
        )

    clips_ = [clip("a", "x", 1.0), clip("b", "x", 4.0), clip("c", "y", 9.0)]
    own = draw_windows(clips_, 32, 10, 0, 0, "either").coefficients
    assert (own == 0).all()  # nobody moves, and the source stands for its own frame
    mixed = draw_windows(clips_, 64, 10, 0, 0, "either", across=1.0).coefficients[:, 0]
    assert set(mixed[:, 6].tolist()) == {3.0, -3.0, 0.0}
    assert (mixed[:, :6] == 0).all()  # the head is where it is in the window's own clip


def test_a_source_whose_motion_nobody_knows_is_of_another_clip_as_a_whole():
    tracks = [np.full((20, 8), level, np.float32) for level in (1.0, 4.0)]
    two = [MotionClip(str(i), track, np.zeros(20 * 640, np.int16), 0, identity="x") for i, track in enumerate(tracks)]
    drawn = draw_windows(two, 32, 10, 0, 0, "either", across=1.0)
    assert (drawn.coefficients[:, 0] + drawn.reference == 5).all()


def test_only_every_nth_frame_serves_as_a_source():
    track = np.arange(30, dtype=np.float32)[:, None]
    clip = MotionClip("a", track, np.zeros(30 * 640, np.int16), 0, references=100 + track[::5], every=5)
    windows = draw_windows([clip], 16, 10, 0, 0, "any")
    assert (windows.reference % 5 == 0).all()
    assert (windows.coefficients.diff(dim=1) == 1).all() and (windows.coefficients >= 100).all()


def test_windows_that_begin_at_their_source_have_its_pose_in_their_first_frame():
    track = np.repeat(np.arange(60, dtype=np.float32)[:, None], 8, 1)
    clip = MotionClip("a", track, np.zeros(60 * 640, np.int16), 0, references=track[::5], every=5)
    windows = draw_windows([clip], 32, 20, 0, 0, "either", begins=[10, 0] * 16)
    first, source = windows.coefficients[:, 10], windows.reference
    assert (first[::2] == source[::2]).all() and (windows.coefficients.diff(dim=1) == 1).all()
    assert (first[1::2] != source[1::2]).any()


def test_targets_are_moved_to_where_the_encoder_sees_the_source():
    true = np.cumsum(np.ones((30, 3), np.float32), 0)
    clip = MotionClip("a", true, np.zeros(30 * 640, np.int16), 0, references=true * 0)
    windows = draw_windows([clip], 4, 10, 0, 0, "inside")
    assert (windows.reference == 0).all()
    assert ((windows.coefficients == 0).all(-1).sum(1) == 1).all()  # the source's own frame lies in the window
    assert (windows.coefficients.diff(dim=1) == 1).all()


def test_pose_and_faces_come_with_the_frames_of_the_window():
    track = np.arange(30, dtype=np.float32)[:, None]
    clip = MotionClip("a", track, np.zeros(30 * 640, np.int16), 0, pose=track.repeat(6, 1), faces=track.repeat(7, 1))
    windows = draw_windows([clip], 3, 10, 0, 0, "any")
    assert windows.pose is not None and windows.faces is not None
    assert (windows.pose[..., 0] == windows.coefficients[..., 0]).all()
    assert (windows.faces[..., 3] == windows.coefficients[..., 0]).all()


def test_the_loss_inside_the_motion_space_is_added_to_that_of_the_latents(toy):
    rng = np.random.default_rng(0)
    motion = MotionClip("a", rng.normal(size=(30, 6)).astype(np.float32), np.zeros(30 * 640, np.int16), 0)
    losses = []
    for inside in (0.0, 2.0):
        torch.manual_seed(0)
        config = replace(toy, flow=replace(toy.flow, inside=inside))
        losses.append(FlowPhase(config, FloatModel(toy.model), [motion], Devices("cpu")).step(0))
    without, with_it = losses
    assert "inside" not in without and with_it["inside"] > 0
    assert with_it["total"] == pytest.approx(without["total"] + 2 * with_it["inside"], rel=1e-5)


def test_data_smaller_than_a_batch_are_an_error(clips, toy):
    many = replace(toy, autoencoder=replace(toy.autoencoder, batch=1000), flow=replace(toy.flow, batch=1000))
    with pytest.raises(DataError, match="75 frames, fewer than a batch of 1000"):
        TinyAutoencoderPhase(many, FloatModel(toy.model).motion_autoencoder, _pool(clips), Devices("cpu"))
    motion = MotionClip("a", np.zeros((20, 6), np.float32), np.zeros(20 * 640, np.int16), 0)
    with pytest.raises(DataError, match="7 windows"):
        FlowPhase(many, FloatModel(toy.model), [motion], Devices("cpu"))


def _killed(clip: object, size: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_drawing_process_that_dies_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOATBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(clips_module, "_draw", _killed)
    with pytest.raises(DependencyError, match="draws training clips died: ended by SIGKILL"):
        RenderedClips(64, 2, seconds=0.2).render(workers=2)


def test_an_anchored_model_is_trained_plain_and_exported_anchored():
    whole = CONFIGS["float-tiny"]
    assert whole.model.transfer == "lia" and whole.model.warp == "bilinear"
    assert whole.exported == FLOAT_TINY and FLOAT_TINY.transfer == "anchored"
    plain = dataclasses.replace(whole, anchored=False)
    assert plain.exported == plain.model and "anchored" not in plain.record() and whole.record()["anchored"]
    with pytest.raises(UsageError, match="pixel_centre"):
        dataclasses.replace(CONFIGS["float-512"], anchored=True)
