"""Phase 1: the motion auto-encoder learns to give a source picture the motion of a driving one (supplement, Eq. 18).

L = L1 + 10 L_lp + 100 L_comp-lp + L_full-adv + L_eye-adv + 100 L_eye-FSM + L_lip-adv + 100 L_lip-FSM
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from floatbench import weights
from floatbench.model.autoencoder import MotionAutoencoder, ToFlow
from floatbench.training.batches import Pairs, draw_pairs
from floatbench.training.checkpoints import load_module, load_optimiser, module_tensors, optimiser_tensors
from floatbench.training.clips import ClipPool, check_batch_fits
from floatbench.training.config import AutoencoderConfig, TrainConfig
from floatbench.training.copy_start import start_as_copy
from floatbench.training.devices import Devices
from floatbench.training.discriminators import ComponentDiscriminator, TwoScaleDiscriminator
from floatbench.training.ema import Ema, half_life_decay
from floatbench.training.encoder_start import solve_encoder
from floatbench.training.log import save_grid
from floatbench.training.loop import rate_at, update
from floatbench.training.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from floatbench.training.losses.components import component_mask, eyes_and_lips, style_loss
from floatbench.training.losses.perceptual import (
    PerceptualNetwork,
    RandomPyramid,
    Vgg19,
    masked_perceptual_loss,
    perceptual_loss,
)
from floatbench.training.losses.truth import choose, motion_loss, warp_loss

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Reconstructed:
    """Picture (B, 3, R, R), coefficients (B, M) as predicted and the decoder's coordinates (B, 64, 64, 2)."""

    picture: Tensor
    coefficients: Tensor
    coordinates: Tensor


class Reconstruct(nn.Module):
    """The auto-encoder's transfer as one call.

    Args:
        both_ways: the second half of the batch is the first with source and driving picture exchanged, so that one
            encoding of the sources is enough.
    """

    def __init__(self, autoencoder: MotionAutoencoder, both_ways: bool = False) -> None:
        super().__init__()
        self.autoencoder, self.both_ways = autoencoder, both_ways
        self.frozen = not any(p.requires_grad for p in autoencoder.enc.parameters())

    def forward(
        self, source: Tensor, driving: Tensor, change: Tensor | None = None, told: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """source, driving (B, 3, R, R), true change (B, M), told (B,) -> the fields of `Reconstructed`.

        Who is told is decoded from the source's own coefficients plus the true change: LIA's relative transfer.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            s_r, features = self.autoencoder.encode(source)
        other = exchanged(s_r) if self.both_ways else self.autoencoder.encode(driving)[0]
        predicted = self.autoencoder.coefficients(other)
        used = predicted
        if change is not None and told is not None:
            used = choose(predicted, self.autoencoder.coefficients(s_r) + change, told)
        with torch.autocast(source.device.type, enabled=False):  # the motion space stays float32
            latent = s_r.float() + self.autoencoder.motion(used.float())
        picture, coordinates = self.autoencoder.decode(latent, features)
        return picture, predicted, coordinates


def exchanged(rows: Tensor) -> Tensor:
    """The second half of an even batch, then the first."""
    return rows.roll(len(rows) // 2, 0)


class Critics(nn.Module):
    """The discriminators: whole picture on two scales, one for eyes, one for lips."""

    def __init__(self, size: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.eye_size, self.lip_size = config.eye_size, config.lip_size
        self.full = TwoScaleDiscriminator(size, config.critic_max, config.critic_base)
        self.eye = ComponentDiscriminator(config.component_width)
        self.lip = ComponentDiscriminator(config.component_width)

    def forward(self, picture: Tensor, boxes: Tensor) -> dict[str, Any]:
        """Scores of a picture and the features of its eyes and lips."""
        eyes, lips = eyes_and_lips(picture, boxes, self.eye_size, self.lip_size)
        eye_score, eye_maps = self.eye(eyes)
        lip_score, lip_maps = self.lip(lips)
        return {
            "full": self.full(picture),
            "eye": eye_score,
            "lip": lip_score,
            "eye maps": eye_maps,
            "lip maps": lip_maps,
        }


def perceptual_network(config: AutoencoderConfig) -> PerceptualNetwork:
    """VGG-19 from the registry, or the seeded stand-in; raises DataError when the weights are missing."""
    return Vgg19(weights.path("vgg19")) if config.network == "vgg19" else RandomPyramid()


def truth_terms(made: Reconstructed, pairs: Pairs, config: AutoencoderConfig) -> Terms:
    """The terms that need the true motion, unweighted."""
    terms: Terms = {}
    if pairs.truth is not None and config.truth_motion:
        terms["truth_motion"] = motion_loss(made.coefficients, pairs.truth.motion)
    if pairs.truth is not None and config.truth_warp:
        terms["truth_warp"] = warp_loss(made.coordinates, pairs.truth.source_tracks, pairs.truth.driving_tracks)
    return terms


def picture_terms(network: PerceptualNetwork, generated: Tensor, pairs: Pairs, config: AutoencoderConfig) -> Terms:
    """The terms that need no discriminator, unweighted."""
    real = pairs.driving
    terms: Terms = {"l1": (generated.float() - real).abs().mean()}
    if config.perceptual:
        terms["perceptual"] = perceptual_loss(network, generated, real, config.scales)
    if config.component or config.component_l1 or config.component_l2:
        mask = component_mask(pairs.boxes, real.shape[-1])
        if config.component:
            terms["component"] = masked_perceptual_loss(network, generated, real, mask, config.component_levels)
        pixels = (3 * mask.sum((1, 2, 3))).clamp(min=1)
        difference = mask * (generated.float() - real)
        if config.component_l1:
            terms["component_l1"] = (difference.abs().sum((1, 2, 3)) / pixels).mean()
        if config.component_l2:
            terms["component_l2"] = (difference.square().sum((1, 2, 3)) / pixels).mean()
    return terms


def adversarial_terms(fake: dict[str, Any], real: dict[str, Any], components: bool) -> Terms:
    """The generator's terms: adversarial on the whole picture, adversarial and style on eyes and lips."""
    terms: Terms = {"full_adv": generator_loss(fake["full"])}
    if components:
        for part in ("eye", "lip"):
            terms[f"{part}_adv"] = generator_loss(fake[part])
            terms[f"{part}_style"] = style_loss(fake[f"{part} maps"], real[f"{part} maps"])
    return terms


class AutoencoderPhase:
    """Weights, optimisers and the step of phase 1.

    Args:
        fresh: False when `load` follows, which brings a solved encoder along.
    """

    def __init__(
        self,
        config: TrainConfig,
        autoencoder: MotionAutoencoder,
        pool: ClipPool,
        devices: Devices,
        fresh: bool = True,
    ) -> None:
        self.whole, self.config, self.pool, self.devices = config, config.autoencoder, pool, devices
        c = self.config
        devices.check_batch(c.batch // 2 if c.both_ways else c.batch)  # halves stay halves in every process
        check_batch_fits(sum(len(clip.frames) for clip in pool.at(0)), c.batch, "frames")
        self.shown = draw_pairs(pool, 8, self.whole.data.seed, 0, flip=False)
        self.autoencoder = autoencoder.to(devices.device).train()
        with torch.no_grad():
            for head in self.autoencoder.dec.modules():
                if isinstance(head, ToFlow):
                    head.conv.weight.mul_(c.flow_gain)
        if c.start == "copy" and fresh:
            start_as_copy(self.autoencoder)
        if c.encoder == "regression":
            if fresh:
                solve_encoder(self.autoencoder, pool)
            self.autoencoder.enc.requires_grad_(False)
            self.autoencoder.dec.direction.requires_grad_(False)  # the encoder was solved for these directions
        self.reconstruct = devices.wrap(Reconstruct(self.autoencoder, c.both_ways))
        self.network = perceptual_network(c).to(devices.device)
        self.optimiser = torch.optim.Adam(
            [p for p in self.autoencoder.parameters() if p.requires_grad], lr=c.rate, betas=(c.beta1, c.beta2)
        )
        self.ema = Ema(self.autoencoder, half_life_decay(c.ema_images, c.batch))
        self.critics: Critics | None = None
        if c.adversarial:
            self.critics = Critics(config.model.image_size, c).to(devices.device).train()
            self.judge = devices.wrap(self.critics)
            self.critic_optimiser = torch.optim.Adam(_critic_groups(self.critics, c), betas=(c.beta1, c.beta2))

    def step(self, step: int) -> dict[str, float]:
        """One update of the generator, then one of the discriminators (as in LIA)."""
        c = self.config
        seed, told = self.whole.data.seed + c.seed, c.truth_share if c.needs_truth else None
        drawn = draw_pairs(self.pool, c.batch, seed, step, self.whole.data.flip, c.both_ways, told, c.across)
        pairs = drawn.share(self.devices.share)
        components = step >= c.component_from
        rate = rate_at(step, c.steps, c.rate, 0, c.decay_from)
        with self.devices.autocast():
            truth = pairs.truth
            known = (truth.change, truth.told) if truth is not None and c.truth_share else ()
            made = Reconstructed(*self.reconstruct(pairs.source, pairs.driving, *known))
            generated = made.picture
            terms = picture_terms(self.network, generated, pairs, c) | truth_terms(made, pairs, c)
            if self.critics is not None:
                self.critics.requires_grad_(False)
                with torch.no_grad():
                    real = self.critics(pairs.driving, pairs.boxes)
                terms |= adversarial_terms(self.critics(generated, pairs.boxes), real, components)
        total = torch.stack([getattr(c, name) * term.float() for name, term in terms.items()]).sum()
        norm = update(self.optimiser, total, rate, c.clip, self.devices.backward, terms)
        self.ema.update(self.autoencoder)
        if self.critics is not None:
            terms |= self._criticise(step, pairs, generated.detach(), components, rate)
        losses = self.devices.means({"total": total} | terms)
        return losses | {"gradient_norm": norm, "rate": rate}

    def _criticise(self, step: int, pairs: Pairs, fake: Tensor, components: bool, rate: float) -> Terms:
        """One update of the discriminators, with R1 on real pictures every `r1_every` steps."""
        c = self.config
        assert self.critics is not None
        self.critics.requires_grad_(True)
        with self.devices.autocast():
            on_fake, on_real = self.judge(fake, pairs.boxes), self.judge(pairs.driving, pairs.boxes)
            parts = ("full", "eye", "lip") if components else ("full",)
            terms: Terms = {f"{part}_critic": discriminator_loss(on_real[part], on_fake[part]) for part in parts}
        total = torch.stack(list(terms.values())).sum()
        if c.r1 and step % c.r1_every == 0:
            with self.devices.exact():
                terms["r1"] = r1_penalty(self.critics.full, pairs.driving)
            total = total + c.r1 / 2 * c.r1_every * terms["r1"]
        update(self.critic_optimiser, total, rate, 0.0, self.devices.backward, terms)
        return terms

    def tensors(self) -> dict[str, Tensor]:
        found = module_tensors("autoencoder", self.autoencoder) | module_tensors("ema", self.ema.module)
        found |= optimiser_tensors("optimiser", self.optimiser)
        if self.critics is not None:
            found |= module_tensors("critics", self.critics)
            found |= optimiser_tensors("critic_optimiser", self.critic_optimiser)
        return found

    def state(self) -> dict[str, Any]:
        return {"ema_updates": self.ema.updates}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        load_module("autoencoder", self.autoencoder, tensors)
        load_module("ema", self.ema.module, tensors)
        load_optimiser("optimiser", self.optimiser, tensors)
        self.ema.updates = int(state["ema_updates"])
        if self.critics is not None:
            load_module("critics", self.critics, tensors)
            load_optimiser("critic_optimiser", self.critic_optimiser, tensors)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> None:
        """Rows: sources, driving pictures, reconstructions of the running average; always the same eight pairs."""
        pairs, device = self.shown, self.devices.device
        made = cast("Callable[..., Tensor]", self.ema.module.transfer)(
            pairs.source.to(device), pairs.driving.to(device)
        )
        save_grid(folder / f"autoencoder-{step:07d}.png", [pairs.source, pairs.driving, made])


def _critic_groups(critics: Critics, c: AutoencoderConfig) -> list[dict[str, Any]]:
    """Parameter groups: the component discriminators have a rate and betas of their own."""
    ratio = c.component_rate / c.rate
    parts = [*critics.eye.parameters(), *critics.lip.parameters()]
    own = {"params": parts, "ratio": ratio, "lr": c.component_rate, "betas": (c.component_beta1, c.beta2)}
    return [{"params": list(critics.full.parameters()), "ratio": 1.0, "lr": c.rate}, own]
