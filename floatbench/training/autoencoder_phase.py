"""Phase 1: the motion auto-encoder learns to give a source picture the motion of a driving one (supplement, Eq. 18).

L = L1 + 10 L_lp + 100 L_comp-lp + L_full-adv + L_eye-adv + 100 L_eye-FSM + L_lip-adv + 100 L_lip-FSM
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from floatbench import weights
from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.sampling.picture import to_pixels, whole_picture
from floatbench.training.batches import Pairs, draw_pairs, pictures
from floatbench.training.checkpoints import load_module, load_optimiser, module_tensors, optimiser_tensors
from floatbench.training.clips import ClipPool, check_batch_fits
from floatbench.training.config import AutoencoderConfig, TrainConfig
from floatbench.training.cost import blocks, compile_each, recompute
from floatbench.training.devices import Devices
from floatbench.training.discriminators import ComponentDiscriminator, TwoScaleDiscriminator
from floatbench.training.ema import Ema, half_life_decay
from floatbench.training.log import save_grid
from floatbench.training.loop import Part, rate_at, update
from floatbench.training.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from floatbench.training.losses.components import component_mask, eyes_and_lips, style_loss
from floatbench.training.losses.perceptual import (
    PerceptualNetwork,
    Vgg19,
    masked_perceptual_loss,
    perceptual_loss,
)
from floatbench.training.pair_stream import PairStream
from floatbench.training.validation import HeldClip, Made

Terms = dict[str, Tensor]
NEEDS_MEMORY = "true motion, pairs across clips and the painter need clips in memory"
POOL = "set data.pool above 0"


class Reconstructed(NamedTuple):
    """Picture (B, 3, R, R), coefficients (B, M) as predicted and the decoder's coordinates (B, 64, 64, 2)."""

    picture: Tensor
    coefficients: Tensor
    coordinates: Tensor


class Reconstruct(nn.Module):
    """The auto-encoder's transfer as one call: source and driving picture (B, 3, R, R) -> `Reconstructed`."""

    def __init__(self, autoencoder: MotionAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, source: Tensor, driving: Tensor) -> Reconstructed:
        s_r, features = self.autoencoder.encode(source)
        coefficients = self.autoencoder.coefficients(self.autoencoder.encode(driving)[0])
        picture, coordinates = self.decoded(s_r, features, coefficients)
        return Reconstructed(picture, coefficients, coordinates)

    def decoded(self, s_r: Tensor, features: list[Tensor], coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and coordinates of s_r (B, D) moved by coefficients (B, M)."""
        with torch.autocast(s_r.device.type, enabled=False):  # the motion space stays float32
            latent = s_r.float() + self.autoencoder.motion(coefficients.float())
        return self.autoencoder.decode(latent, features)


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


def adversarial_terms(fake: dict[str, Any], real: dict[str, Any], components: bool) -> Terms:
    """The generator's terms: adversarial on the whole picture, adversarial and style on eyes and lips."""
    terms: Terms = {"full_adv": generator_loss(fake["full"])}
    if components:
        for part in ("eye", "lip"):
            terms[f"{part}_adv"] = generator_loss(fake[part])
            terms[f"{part}_style"] = style_loss(fake[f"{part} maps"], real[f"{part} maps"])
    return terms


class AutoencoderPhase:
    """Weights, optimisers and the step of phase 1; `floatbench.training.tiny` says what float-tiny does differently.

    Args:
        fresh: False when `load` follows, which brings all weights along.
    """

    def __init__(
        self,
        config: TrainConfig,
        autoencoder: MotionAutoencoder,
        pool: ClipPool | PairStream,
        devices: Devices,
        fresh: bool = True,
    ) -> None:
        self.whole, self.config, self.pool, self.devices = config, config.autoencoder, pool, devices
        c = self.config
        devices.check_batch(c.shared_batch, c.accumulate)
        self.seed = config.data.seed + c.seed
        self.shown = self._shown()
        self.autoencoder = autoencoder.to(devices.device).train()
        self.begin(fresh)
        self.network = self.perceptual_network().to(devices.device)
        self.ema = Ema(self.autoencoder, half_life_decay(c.ema_images, c.batch))
        if c.recompute:
            recompute([*blocks(self.autoencoder), self.network])
        if c.compiled:
            compile_each([self.autoencoder.enc, self.autoencoder.dec, self.network])
        self.reconstruct = devices.wrap(self.reconstruction())
        self.optimiser = torch.optim.Adam(
            [p for p in self.autoencoder.parameters() if p.requires_grad], lr=c.rate, betas=(c.beta1, c.beta2)
        )
        self.critics: Critics | None = None
        if c.adversarial:
            self.critics = Critics(config.model.image_size, c).to(devices.device).train()
            self.judge = devices.wrap(self.critics)
            self.critic_optimiser = torch.optim.Adam(_critic_groups(self.critics, c), betas=(c.beta1, c.beta2))

    def _shown(self) -> Pairs:
        """The eight pairs of the picture grids; raises DataError when the data hold less than a batch."""
        if isinstance(self.pool, PairStream):
            check_batch_fits(len(self.pool.order.indices), self.config.batch, "clips")
            return self.pool.shown(8).on("cpu")
        check_batch_fits(sum(len(clip.frames) for clip in self.pool.at(0)), self.config.batch, "frames")
        return draw_pairs(self.pool, 8, self.whole.data.seed, 0, flip=False).on("cpu")

    def clips_in_memory(self) -> ClipPool:
        """The pool of clips; raises UsageError when pairs come straight from the files."""
        if isinstance(self.pool, PairStream):
            raise UsageError(NEEDS_MEMORY, fix=POOL)
        return self.pool

    def begin(self, fresh: bool) -> None:
        """Changes the random weights before the first step; the paper leaves them."""

    def reconstruction(self) -> Reconstruct:
        """The module that training calls."""
        return Reconstruct(self.autoencoder)

    def perceptual_network(self) -> PerceptualNetwork:
        """VGG-19 from the registry; raises DataError when the weights are missing."""
        return Vgg19(weights.path("vgg19"))

    def drawn(self, step: int) -> Pairs:
        """This process's rows of the batch of a step, as bytes."""
        if isinstance(self.pool, PairStream):
            return self.pool.at(step)
        return draw_pairs(self.pool, self.config.batch, self.seed, step, self.whole.data.flip, self.devices.rows)

    def reconstructed(self, pairs: Pairs) -> Reconstructed:
        """What the auto-encoder makes of a batch."""
        return self.reconstruct(pairs.source, pairs.driving)

    def terms(self, made: Reconstructed, pairs: Pairs) -> Terms:
        """The terms of Eq. 18 that need no discriminator, unweighted."""
        c, real = self.config, pairs.driving
        terms: Terms = {"l1": (made.picture.float() - real).abs().mean()}
        if c.perceptual:
            terms["perceptual"] = perceptual_loss(self.network, made.picture, real, c.scales)
        if c.component:
            mask = component_mask(pairs.boxes, real.shape[-1], pairs.lips)
            terms["component"] = masked_perceptual_loss(self.network, made.picture, real, mask, c.component_levels)
        return terms

    def step(self, step: int) -> dict[str, float]:
        """One update of the generator, then one of the discriminators (as in LIA)."""
        c = self.config
        components = step >= c.component_from
        rate = rate_at(step, c.steps, c.rate, 0, c.decay_from)
        parts = self.drawn(step).on(self.devices.device).parts(c.accumulate)
        seen: list[Terms] = []
        fakes: list[Tensor] = []

        def generate(part: Pairs) -> Part:
            terms, picture = self._generate(part, components)
            total = torch.stack([getattr(c, name) * term.float() for name, term in terms.items()]).sum()
            seen.append({"total": total.detach()} | {name: term.detach() for name, term in terms.items()})
            fakes.append(picture.detach())
            return total / len(parts), terms

        norm = self._updated(self.optimiser, generate, parts, rate, c.clip)
        self.ema.update(self.autoencoder)
        if self.critics is not None:
            self.critics.requires_grad_(True)

            def criticise(part: tuple[Pairs, Tensor, Terms]) -> Part:
                pairs, fake, told = part
                terms, total = self._criticise(step, pairs, fake, components)
                told |= {name: term.detach() for name, term in terms.items()}
                return total / len(parts), terms

            self._updated(self.critic_optimiser, criticise, list(zip(parts, fakes, seen, strict=True)), rate, 0.0)
        mean = {name: torch.stack([terms[name].float() for terms in seen]).mean() for name in seen[0]}
        return self.devices.means(mean) | {"gradient_norm": norm, "rate": rate}

    def _updated(
        self,
        optimiser: torch.optim.Optimizer,
        loss: Callable[[Any], Part],
        parts: Sequence[Any],
        rate: float,
        clip: float,
    ) -> float:
        """One update by the gradients of all parts; returns their norm."""
        first, terms = loss(parts[0])
        return update(optimiser, first, rate, clip, self.devices.backward, terms, map(loss, parts[1:]))

    def _generate(self, pairs: Pairs, components: bool) -> tuple[Terms, Tensor]:
        """The generator's terms, unweighted, and its pictures."""
        with self.devices.autocast():
            made = self.reconstructed(pairs)
            terms = self.terms(made, pairs)
            if self.critics is not None:
                self.critics.requires_grad_(False)
                with torch.no_grad():
                    real = self.critics(pairs.driving, pairs.boxes)
                terms |= adversarial_terms(self.critics(made.picture, pairs.boxes), real, components)
        return terms, made.picture

    def _criticise(self, step: int, pairs: Pairs, fake: Tensor, components: bool) -> tuple[Terms, Tensor]:
        """The discriminators' terms and loss, with R1 on real pictures every `r1_every` steps."""
        c = self.config
        assert self.critics is not None
        with self.devices.autocast():
            on_fake, on_real = self.judge(fake, pairs.boxes), self.judge(pairs.driving, pairs.boxes)
            parts = ("full", "eye", "lip") if components else ("full",)
            terms: Terms = {f"{part}_critic": discriminator_loss(on_real[part], on_fake[part]) for part in parts}
        total = torch.stack(list(terms.values())).sum()
        if c.r1 and c.r1_every and step % c.r1_every == 0:
            with self.devices.exact():
                terms["r1"] = r1_penalty(self.critics.full, pairs.driving)
            total = total + c.r1 / 2 * c.r1_every * terms["r1"]
        return terms, total

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

    def held_out_maker(self) -> Made:
        """What gives the source of a held-out clip the motion of its pictures, with the running average."""
        averaged, size = cast("MotionAutoencoder", self.ema.module), self.whole.model.image_size
        return transfer_maker(averaged, size, self.config.batch, self.devices.device)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> None:
        """Rows: sources, driving pictures, reconstructions of the running average; always the same eight pairs."""
        pairs, device = self.shown, self.devices.device
        made = cast("Callable[..., Tensor]", self.ema.module.transfer)(
            pairs.source.to(device), pairs.driving.to(device)
        )
        save_grid(folder / f"autoencoder-{step:07d}.png", [pairs.source, pairs.driving, made])


def transfer_maker(autoencoder: MotionAutoencoder, size: int, batch: int, device: torch.device) -> Made:
    """What gives the source of a held-out clip the motion of its pictures, at most `batch` of them at a time."""

    @torch.no_grad()
    def make(held: HeldClip) -> np.ndarray:
        source = pictures(whole_picture(held.source, size)[0][None]).to(device)
        driving = np.stack([whole_picture(frame, size)[0] for frame in held.media.frames])
        parts = [pictures(part).to(device) for part in np.array_split(driving, -(-len(driving) // batch))]
        made = [autoencoder.transfer(source.expand_as(part), part).float() for part in parts]
        return np.concatenate([to_pixels(part).cpu().numpy() for part in made])

    return make


def _critic_groups(critics: Critics, c: AutoencoderConfig) -> list[dict[str, Any]]:
    """Parameter groups: the component discriminators have a rate and betas of their own."""
    ratio = c.component_rate / c.rate
    parts = [*critics.eye.parameters(), *critics.lip.parameters()]
    own = {"params": parts, "ratio": ratio, "lr": c.component_rate, "betas": (c.component_beta1, c.beta2)}
    return [{"params": list(critics.full.parameters()), "ratio": 1.0, "lr": c.rate}, own]
