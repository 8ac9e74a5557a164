"""A training configuration so small that a run takes seconds, and its clips, drawn once a session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from floatbench.model.config import FloatConfig
from floatbench.training.clips import RenderedClips, TrainingClip
from floatbench.training.config import TrainConfig
from floatbench.training.configs import CONFIGS
from floatbench.training.data_config import DataConfig


class HeldClips(RenderedClips):
    """Clips that are drawn once and then kept."""

    def __init__(self) -> None:
        super().__init__(64, 3, seconds=1.0, seed=5)
        self.held: list[TrainingClip] = []

    def load(self, index: int) -> TrainingClip:
        if not self.held:
            self.held = [super(HeldClips, self).load(i) for i in range(len(self))]
        return self.held[index]


@pytest.fixture(scope="session")
def clips() -> HeldClips:
    return HeldClips()


@pytest.fixture(scope="session")
def toy() -> TrainConfig:
    """All terms of both phases switched on, widths of a few channels."""
    base = CONFIGS["float-tiny"]
    model = FloatConfig(
        name="toy", image_size=64, channel_max=8, channel_base=512, dim_w=16, dim_a=16, dim_h=32, dim_m=6, depth=2,
        heads=2, window=10, previous=4, speech="logmel", mel_bands=12, mel_width=12, grid="pixel_centre",
    )  # fmt: skip
    auto = replace(
        base.autoencoder, steps=4, batch=4, component=1.0, truth_share=0.0, encoder="trained",
        full_adv=0.1, eye_adv=0.1, eye_style=1.0, lip_adv=0.1, lip_style=1.0,
        critic_max=8, critic_base=512, component_width=4, r1_every=2, save_every=2, sample_every=0,
    )  # fmt: skip
    flow = replace(
        base.flow, steps=4, batch=4, targets="encoded", face_velocity=0.0, head_square=0.0, previous_loss="clean",
        save_every=2, sample_every=0,
    )  # fmt: skip
    return TrainConfig("toy", model, DataConfig(identities=3, seconds=1.0, seed=5), auto, flow, sampling={"nfe": 4})
