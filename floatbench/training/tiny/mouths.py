"""The network that paints mouths for float-tiny learns after phase 1, on pictures that the finished decoder made.

The decoder takes all its colours from the source, where a mouth is mostly shut; a hundredth of a picture weighs too
little beside the rest for it to learn teeth along with everything else. N pairs, B batch, R pixels, M motion numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import POSES
from floatbench.model.mouth import MouthPainter, on_patch
from floatbench.progress import Progress
from floatbench.sampling.picture import to_pixels
from floatbench.training.batches import step_generator, unit
from floatbench.training.clips import ClipPool
from floatbench.training.config import TrainConfig
from floatbench.training.ground_truth import SPREAD
from floatbench.training.loop import rate_at, update
from floatbench.training.losses.components import MOUTH, component_mask
from floatbench.training.tiny.config import MouthConfig
from floatbench.training.tiny.pairs import draw_tiny_pairs

ACROSS = 0.5
"""Share of pairs of two clips, whose emotions differ."""
INSIDE = 3.0
"""Further weight of the mouth itself within its patch."""
SQUARED, EDGES, SPARED = 4.0, 1.0, 0.01
"""Weights of squared differences, of differences between neighbouring pixels, and of the share that is painted."""


@dataclass(frozen=True)
class MouthPairs:
    """What the decoder made and what it should have made (N, R, R, 3) uint8, boxes (N, 1, 4) of the mouths, and motion
    numbers of source and wanted picture (N, M)."""

    made: Tensor
    wanted: Tensor
    boxes: Tensor
    before: Tensor
    after: Tensor

    def rows(self, rows: Tensor) -> MouthPairs:
        """Those pairs."""
        return MouthPairs(*(value[rows] for value in vars(self).values()))


@torch.no_grad()
def decoded_pairs(
    config: TrainConfig, autoencoder: MotionAutoencoder, pool: ClipPool, progress: Progress
) -> MouthPairs:
    """Pairs of phase 1's clips, decoded with the true change of motion; `autoencoder` decodes anchored."""
    c, parts = config.mouth, []
    with progress.task("mouths", c.pairs, "pair") as task:
        for step in range(-(-c.pairs // c.batch)):
            pairs = draw_tiny_pairs(
                pool, c.batch, config.data.seed + c.seed, step, config.data.flip, relative=1.0, across=ACROSS
            )
            assert pairs.truth is not None
            latent, features = autoencoder.encode(unit(pairs.source))
            before = autoencoder.coefficients(latent)
            after = before + pairs.truth.change
            unpainted = autoencoder.resting_at(latent, features, unfamiliar=True)
            made = to_pixels(autoencoder.decode(latent + autoencoder.motion(after), unpainted)[0])
            box = pairs.boxes[:, MOUTH : MOUTH + 1]
            parts.append((made, pairs.driving, box, before, after))
            task.advance(c.batch)
    return MouthPairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def train_mouth(config: TrainConfig, autoencoder: MotionAutoencoder, pool: ClipPool, progress: Progress) -> None:
    """Gives a trained auto-encoder its painter of mouths.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    anchored = MotionAutoencoder(config.exported).eval().requires_grad_(False)
    anchored.load_state_dict(autoencoder.state_dict())
    painter = fit_mouth(config.mouth, decoded_pairs(config, anchored, pool, progress), progress)
    assert autoencoder.dec.mouth is not None
    autoencoder.dec.mouth.load_state_dict(painter.state_dict())


def fit_mouth(config: MouthConfig, pairs: MouthPairs, progress: Progress) -> MouthPainter:
    """Differences inside the mouth's patch, most inside of the mouth.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    torch.manual_seed(config.seed)
    painter = MouthPainter()
    painter.spread.copy_(torch.from_numpy(SPREAD))
    optimiser = torch.optim.Adam(painter.parameters(), lr=config.rate)
    with progress.task("mouth", config.steps, "step") as task:
        for step in range(config.steps):
            generator = step_generator(config.seed, step, "mouth")
            rows = torch.randint(len(pairs.made), (config.batch,), generator=generator)
            terms = _terms(painter, pairs.rows(rows))
            loss = terms["plain"] + SQUARED * terms["squared"] + EDGES * terms["edges"] + SPARED * terms["share"]
            update(optimiser, loss, rate_at(step, config.steps, config.rate, 100, 0.4), 1.0, Tensor.backward, terms)
            task.advance(note=f"plain {float(terms['plain'].detach()):.4f}")
    return painter.eval().requires_grad_(False)


def _terms(painter: MouthPainter, pairs: MouthPairs) -> dict[str, Tensor]:
    """The weighted differences of painted and wanted pictures, and the share that was painted."""
    made, wanted = unit(pairs.made), unit(pairs.wanted)
    known = made.new_ones(len(made), 1, 1, 1)
    paint, share = painter.painted(made, pairs.after, pairs.before, known)
    off = torch.lerp(made, paint, share) - wanted
    patch = on_patch(pairs.after[:, :POSES] * painter.spread[:POSES], made.shape[-1]).abs().amax(-1) < 1
    weight = patch[:, None] * (1 + INSIDE * component_mask(pairs.boxes, made.shape[-1]))
    total = 3 * weight.sum()
    edges = [(weight[..., 1:, :] * off.diff(dim=2).abs()).sum(), (weight[..., 1:] * off.diff(dim=3).abs()).sum()]
    return {
        "plain": (weight * off.abs()).sum() / total,
        "squared": (weight * off.square()).sum() / total,
        "edges": (edges[0] + edges[1]) / total,
        "share": share.mean(),
    }
