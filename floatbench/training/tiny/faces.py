"""The network that paints faces for float-tiny learns after phase 1, on pictures that the finished decoder made.

The decoder takes all its colours from the source, where a mouth is mostly shut; a hundredth of a picture weighs too
little beside the rest for it to learn teeth along with everything else, or brows that rise by two pixels. N pairs,
B batch, R pixels, M motion numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import POSES
from floatbench.model.face_reader import on_front
from floatbench.model.painter import FacePainter, Patch, on_patch
from floatbench.progress import Progress
from floatbench.sampling.picture import to_pixels
from floatbench.training.batches import step_generator, unit
from floatbench.training.clips import ClipPool
from floatbench.training.config import TrainConfig
from floatbench.training.ground_truth import SPREAD
from floatbench.training.loop import rate_at, update
from floatbench.training.losses.components import component_mask
from floatbench.training.tiny.config import PainterConfig
from floatbench.training.tiny.pairs import draw_tiny_pairs

ACROSS = 0.5
"""Share of pairs of two clips, whose emotions differ."""
INSIDE = 3.0
"""Further weight of mouth, eyes and brows within their patches."""
ABOVE = 1.2
"""Of an eye's box, how much higher its brow reaches."""
SQUARED, EDGES = 4.0, 1.0
"""Weights of squared differences and of differences between neighbouring pixels."""


@dataclass(frozen=True)
class PaintPairs:
    """What the decoder made and what it should have made (N, R, R, 3) uint8, boxes (N, 3, 4) of mouth and eyes, and
    motion numbers of source and wanted picture (N, M)."""

    made: Tensor
    wanted: Tensor
    boxes: Tensor
    before: Tensor
    after: Tensor

    def rows(self, rows: Tensor) -> PaintPairs:
        """Those pairs."""
        return PaintPairs(*(value[rows] for value in vars(self).values()))


@torch.no_grad()
def decoded_pairs(
    config: TrainConfig, autoencoder: MotionAutoencoder, pool: ClipPool, progress: Progress
) -> PaintPairs:
    """Pairs of phase 1's clips, decoded with the true change of motion; `autoencoder` decodes anchored."""
    c, parts = config.painter, []
    with progress.task("faces", c.pairs, "pair") as task:
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
            parts.append((made, pairs.driving, pairs.boxes, before, after))
            task.advance(c.batch)
    return PaintPairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def train_painter(config: TrainConfig, autoencoder: MotionAutoencoder, pool: ClipPool, progress: Progress) -> None:
    """Gives a trained auto-encoder its painter of faces.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    anchored = MotionAutoencoder(config.exported).eval().requires_grad_(False)
    anchored.load_state_dict(autoencoder.state_dict())
    painter = fit_painter(config.painter, decoded_pairs(config, anchored, pool, progress), progress)
    assert autoencoder.dec.painter is not None
    autoencoder.dec.painter.load_state_dict(painter.state_dict())


def fit_painter(config: PainterConfig, pairs: PaintPairs, progress: Progress) -> FacePainter:
    """Differences inside the painted patches, most inside of mouth and eyes.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    torch.manual_seed(config.seed)
    painter = FacePainter()
    painter.spread.copy_(torch.from_numpy(SPREAD))
    optimiser = torch.optim.Adam(painter.parameters(), lr=config.rate)
    with progress.task("painter", config.steps, "step") as task:
        for step in range(config.steps):
            generator = step_generator(config.seed, step, "painter")
            rows = torch.randint(len(pairs.made), (config.batch,), generator=generator)
            terms = _terms(painter, pairs.rows(rows))
            loss = terms["plain"] + SQUARED * terms["squared"] + EDGES * terms["edges"]
            update(optimiser, loss, rate_at(step, config.steps, config.rate, 100, 0.4), 1.0, Tensor.backward, terms)
            task.advance(note=f"plain {float(terms['plain'].detach()):.4f}")
    return painter.eval().requires_grad_(False)


def _terms(painter: FacePainter, pairs: PaintPairs) -> dict[str, Tensor]:
    """The sums over both parts of the weighted differences of painted and wanted pictures."""
    made, wanted = unit(pairs.made), unit(pairs.wanted)
    front = on_front(pairs.after[:, :POSES] * painter.spread[:POSES], made.shape[-1])
    changes = painter.changes(made, pairs.after, pairs.before, made.new_ones(len(made), 1, 1, 1))
    boxes = pairs.boxes[:, :1], _with_brows(pairs.boxes[:, 1:])
    parts = [
        _differences(made + change - wanted, front, part.patch, inside)
        for part, change, inside in zip((painter.mouth, painter.eyes), changes, boxes, strict=True)
    ]
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def _with_brows(eyes: Tensor) -> Tensor:
    """Boxes of eyes (N, 2, 4), as much higher as brows above them are when they rise."""
    height = eyes[..., 3:] - eyes[..., 1:2]
    return torch.cat((eyes[..., :1], eyes[..., 1:2] - ABOVE * height, eyes[..., 2:]), -1)


def _differences(off: Tensor, front: Tensor, patch: Patch, boxes: Tensor) -> dict[str, Tensor]:
    """Terms of one patch of differences (B, 3, R, R)."""
    within = on_patch(front, patch).abs().amax(-1) < 1
    weight = within[:, None] * (1 + INSIDE * component_mask(boxes, off.shape[-1]))
    total = 3 * weight.sum()
    edges = [(weight[..., 1:, :] * off.diff(dim=2).abs()).sum(), (weight[..., 1:] * off.diff(dim=3).abs()).sum()]
    return {
        "plain": (weight * off.abs()).sum() / total,
        "squared": (weight * off.square()).sum() / total,
        "edges": (edges[0] + edges[1]) / total,
    }
