"""The face reader of float-tiny: what it learns from, that it learns, and where phase 1 puts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import CONFIGS, POSES
from floatbench.model.face_reader import FaceReader
from floatbench.progress import NullProgress
from floatbench.training import held_out
from floatbench.training.batches import pictures
from floatbench.training.clip_order import MixedOrder
from floatbench.training.clips import ClipPool, RenderedClips
from floatbench.training.config import AutoencoderConfig, TinyAutoencoderConfig, TrainConfig
from floatbench.training.ground_truth import SPREAD
from floatbench.training.tiny import reader as module
from floatbench.training.tiny.config import PainterConfig, ReaderConfig
from floatbench.training.tiny.encoder_start import solve_encoder
from floatbench.training.tiny.faces import PaintPairs, fit_painter
from floatbench.training.tiny.reader import draw_portraits, fit_reader, trained_reader

SMALL = ReaderConfig(people=2, stills=3, speakers=1, steps=24, batch=6, rate=0.02)
READS = replace(CONFIGS["float-tiny-64"], channel_max=16, reader=True)


@pytest.fixture(scope="module")
def portraits() -> tuple[np.ndarray, np.ndarray]:
    return draw_portraits(SMALL, 1, NullProgress(), 1)


def test_it_sees_single_pictures_and_frames_of_clips(portraits):
    shown, motion = portraits
    assert shown.shape == (2 * 3 + 10, 128, 128, 3) and motion.shape == (16, 20)  # of two seconds every fifth frame
    assert len(np.unique(motion[:6, 0])) == 6


def test_it_learns_what_it_is_shown(portraits):
    shown, motion = portraits
    torch.manual_seed(0)
    before = FaceReader(8).eval()
    before.spread.copy_(torch.from_numpy(SPREAD))
    after = fit_reader(SMALL, 8, shown, motion, NullProgress())
    true = torch.from_numpy(motion / SPREAD)
    with torch.no_grad():
        off = [float((reader(pictures(shown)) - true).square().mean()) for reader in (before, after)]
    assert off[1] < 0.8 * off[0]
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in after.modules())


def test_normalisation_is_folded_into_the_convolutions():
    torch.manual_seed(0)
    reader = module._normed(FaceReader(8))
    for norm in (part for part in reader.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.data.normal_()  # type: ignore[union-attr]
    seen = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        expected = reader.eval()(seen)
        assert torch.allclose(module._folded(reader)(seen), expected, atol=1e-4)


def test_it_is_trained_once_for_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portraits):
    drawn = []
    monkeypatch.setattr(module, "draw_portraits", lambda *a: drawn.append(a) or portraits)
    config = TrainConfig("toy", READS, autoencoder=TinyAutoencoderConfig(encoder="regression"), reader=SMALL)
    config = replace(config, reader=replace(SMALL, steps=1))
    before = torch.get_rng_state()
    first, second = (trained_reader(config, tmp_path, NullProgress()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)  # what follows draws alike after either
    assert len(drawn) == 1 and all(torch.equal(first[name], second[name]) for name in first)
    trained_reader(replace(config, reader=replace(SMALL, steps=2)), tmp_path, NullProgress())
    assert len(drawn) == 2
    assert config.hash("autoencoder") != replace(config, reader=SMALL).hash("autoencoder")


def test_the_solved_encoder_takes_its_coefficients_from_the_reader():
    clips = RenderedClips(64, 2, 1, 0.8, 1, 0, 0.0, True)
    clips.render(NullProgress(), 1)
    pool = ClipPool(clips, MixedOrder(clips, [0, 1], 0, {}), 2, 0)
    torch.manual_seed(0)
    net = MotionAutoencoder(READS)
    solve_encoder(net, pool)
    net.eval()
    assert net.enc.reader is not None
    picture = pictures(pool.at(0)[0].frames[:3])
    with torch.no_grad():
        read = net.enc.reader(picture)
        assert torch.allclose(net.coefficients(net.encode(picture)[0]), read, atol=1e-3 * float(read.abs().max()))


def test_the_reader_never_meets_people_that_are_kept_back():
    with pytest.raises(UsageError, match="people"):
        ReaderConfig(people=30_001)
    assert module.FIRST + 2 * 30_000 == held_out.FIRST


def test_a_model_with_a_reader_leaves_room_for_it():
    with pytest.raises(UsageError, match="leaves no room"):
        TrainConfig("toy", READS, autoencoder=TinyAutoencoderConfig())
    with pytest.raises(UsageError, match="leaves no room"):
        TrainConfig("toy", READS, autoencoder=AutoencoderConfig())


def test_a_painter_of_faces_learns_what_the_decoder_missed():
    """Of pictures whose mouths are black in truth and white as they were made, it learns to darken the mouth."""
    count, size = 6, 64
    box = torch.tensor([[[0.35, 0.55, 0.65, 0.8], [0.0] * 4, [0.0] * 4]]).repeat(count, 1, 1)
    made = torch.full((count, size, size, 3), 200, dtype=torch.uint8)
    wanted = made.clone()
    wanted[:, int(0.55 * size) : int(0.8 * size), int(0.35 * size) : int(0.65 * size)] = 30
    before = torch.zeros(count, 20)
    after = before.clone()
    after[:, POSES] = 3.0
    pairs = PaintPairs(made, wanted, box, before, after)
    painter = fit_painter(PainterConfig(steps=20, batch=6, rate=1e-2), pairs, NullProgress())
    picture = made.permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        painted = painter(picture, torch.zeros(count, size, size, 2), after, before, torch.ones(count, 1, 1, 1))
    middle = (slice(None), slice(None), int(0.67 * size), size // 2)
    assert float(painted[middle].mean()) < float(picture[middle].mean()) - 0.3
