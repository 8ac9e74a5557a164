"""Phase 1 of float-tiny: the paper's, with an encoder that is solved, a decoder that starts as a copy, and true motion.

L = paper's terms + component_l1 |D - D'| + component_l2 |D - D'|^2 inside mouth and eyes + truth_motion L_motion
    + truth_warp L_warp
"""

from __future__ import annotations

import torch
from torch import Tensor

from floatbench.model.autoencoder import MotionAutoencoder, ToFlow
from floatbench.training.autoencoder_phase import AutoencoderPhase, Reconstruct, Reconstructed, Terms
from floatbench.training.batches import Pairs
from floatbench.training.config import AutoencoderConfig, TinyAutoencoderConfig
from floatbench.training.losses.components import component_mask
from floatbench.training.losses.perceptual import PerceptualNetwork, RandomPyramid
from floatbench.training.pair_stream import PairStream
from floatbench.training.tiny.copy_start import start_as_copy
from floatbench.training.tiny.encoder_start import solve_encoder
from floatbench.training.tiny.losses import choose, motion_loss, warp_loss
from floatbench.training.tiny.pairs import TinyPairs, draw_tiny_pairs


class TinyReconstruct(Reconstruct):
    """Transfer that may skip the driving pictures' encoding and may be given the true change of motion.

    Args:
        both_ways: the second half of the batch is the first with source and driving picture exchanged, so that one
            encoding of the sources is enough.
    """

    def __init__(self, autoencoder: MotionAutoencoder, both_ways: bool = False) -> None:
        super().__init__(autoencoder)
        self.both_ways = both_ways
        self.frozen = not any(p.requires_grad for p in autoencoder.enc.parameters())

    def forward(
        self, source: Tensor, driving: Tensor, change: Tensor | None = None, relative: Tensor | None = None
    ) -> Reconstructed:
        """source, driving (B, 3, R, R), true change of motion (B, M), relative (B,) bool -> `Reconstructed`.

        Where `relative` holds, the picture is decoded from the source's own coefficients plus the true change (LIA's
        relative transfer).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            s_r, features = self.autoencoder.encode(source)
        other = exchanged(s_r) if self.both_ways else self.autoencoder.encode(driving)[0]
        predicted = self.autoencoder.coefficients(other)
        used = predicted
        if change is not None and relative is not None:
            used = choose(predicted, self.autoencoder.coefficients(s_r) + change, relative)
        picture, coordinates = self.decoded(s_r, features, used)
        return Reconstructed(picture, predicted, coordinates)


def exchanged(rows: Tensor) -> Tensor:
    """The second half of an even batch, then the first."""
    return rows.roll(len(rows) // 2, 0)


class TinyAutoencoderPhase(AutoencoderPhase):
    """Phase 1 of a `TinyAutoencoderConfig`."""

    config: TinyAutoencoderConfig

    def begin(self, fresh: bool) -> None:
        c = self.config
        if self.autoencoder.dec.painter is not None:
            self.autoencoder.dec.painter.requires_grad_(False)  # it learns afterwards
        with torch.no_grad():
            for head in self.autoencoder.dec.modules():
                if isinstance(head, ToFlow):
                    head.conv.weight.mul_(c.flow_gain)
        if c.start == "copy" and fresh:
            start_as_copy(self.autoencoder)
        if c.encoder == "regression":
            if fresh:
                solve_encoder(self.autoencoder, self.clips_in_memory())
            self.autoencoder.enc.requires_grad_(False)
            self.autoencoder.dec.direction.requires_grad_(False)  # the encoder was solved for these directions

    def reconstruction(self) -> Reconstruct:
        return TinyReconstruct(self.autoencoder, self.config.both_ways)

    def perceptual_network(self) -> PerceptualNetwork:
        """VGG-19, or the seeded stand-in."""
        return RandomPyramid() if self.config.network == "random" else super().perceptual_network()

    def drawn(self, step: int) -> TinyPairs:
        c = self.config
        relative = c.truth_share if c.needs_truth else None
        if isinstance(self.pool, PairStream) and not c.needs_memory:
            return TinyPairs(**vars(self.pool.at(step)))
        return draw_tiny_pairs(
            self.clips_in_memory(), c.batch, self.seed, step, self.whole.data.flip, c.both_ways, relative, c.across,
            self.devices.rows, c.vary,
        )  # fmt: skip

    def reconstructed(self, pairs: Pairs) -> Reconstructed:
        assert isinstance(pairs, TinyPairs)
        if pairs.truth is None or not self.config.truth_share:
            return super().reconstructed(pairs)
        return self.reconstruct(pairs.source, pairs.driving, pairs.truth.change, pairs.truth.relative)

    def terms(self, made: Reconstructed, pairs: Pairs) -> Terms:
        assert isinstance(pairs, TinyPairs)
        return super().terms(made, pairs) | self._component_terms(made, pairs) | self._truth_terms(made, pairs)

    def _component_terms(self, made: Reconstructed, pairs: Pairs) -> Terms:
        """Mean plain and squared difference inside mouth and eyes."""
        c, terms = self.config, {}
        if not (c.component_l1 or c.component_l2):
            return terms
        mask = component_mask(pairs.boxes, pairs.driving.shape[-1])
        pixels = (3 * mask.sum((1, 2, 3))).clamp(min=1)
        difference = mask * (made.picture.float() - pairs.driving)
        if c.component_l1:
            terms["component_l1"] = (difference.abs().sum((1, 2, 3)) / pixels).mean()
        if c.component_l2:
            terms["component_l2"] = (difference.square().sum((1, 2, 3)) / pixels).mean()
        return terms

    def _truth_terms(self, made: Reconstructed, pairs: TinyPairs) -> Terms:
        """The terms that need the true motion."""
        c, truth, terms = self.config, pairs.truth, {}
        if truth is not None and c.truth_motion:
            terms["truth_motion"] = motion_loss(made.coefficients, truth.motion)
        if truth is not None and c.truth_warp:
            terms["truth_warp"] = warp_loss(made.coordinates, truth.source_tracks, truth.driving_tracks)
        return terms


def phase_class(config: AutoencoderConfig) -> type[AutoencoderPhase]:
    """The class that trains phase 1 of a configuration."""
    return TinyAutoencoderPhase if isinstance(config, TinyAutoencoderConfig) else AutoencoderPhase
