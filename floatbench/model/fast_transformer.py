"""The fast twin of the transformer: a window's vector field at many times, for all guidance branches at once.

The same numbers to rounding, in an order that costs less:

- on a CPU equal condition rows are embedded and turned into modulations once: the branches of guidance share the rows
  in which they drop the same conditions, e.g. 121 of 180 rows are distinct for the usual three branches;
- the modulations of all times of a window come from one matrix product per block;
- previous frames are dropped from the block on after which they can no longer reach a current frame.

Compiled, all windows have one shape, since another one would be compiled anew, for a minute.

On CUDA nothing waits for the device: times are numbers of the host, and rows are not compared, so that every window has
the same shapes and one graph serves all.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model.captured import Captured
from floatbench.model.conditions import Conditions
from floatbench.model.fast_decoder import DTYPES, Compile, Precision, compiled
from floatbench.model.transformer import AdaLNBlock, AdaLNHead, FlowMatchingTransformer


class FastTransformer:
    """Binds windows of conditions to fast vector fields.

    Args:
        fmt: with adaLN conditioning, in evaluation mode.
        precision: of the whole transformer; `fp32` is exact to rounding, the others work on a copy of the weights.
        compile: run the blocks through `torch.compile`; `max` also lets the compiler time its kernels.
        graphs: replay the blocks as CUDA graphs, one per batch (CUDA only; not yet measured on CUDA).

    Raises:
        ValueError: an unknown precision, a transformer with cross-attention, which has no fast twin, or graphs without
            CUDA.
    """

    def __init__(
        self,
        fmt: FlowMatchingTransformer,
        precision: Precision = "fp32",
        compile: Compile = False,
        graphs: bool = False,
    ) -> None:
        if precision not in DTYPES:
            raise ValueError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}")
        if fmt.config.conditioning != "adaln":
            raise ValueError(f"{fmt.config.conditioning} conditioning has no fast transformer; use impl 'plain'")
        self.dtype = DTYPES[precision]
        self.fmt = fmt if precision == "fp32" else copy.deepcopy(fmt).to(self.dtype)
        self._blocks = cast("list[AdaLNBlock]", list(self.fmt.blocks))
        self._head = cast("AdaLNHead", self.fmt.decoder)
        if graphs and fmt.pos_embed.device.type != "cuda":
            raise ValueError("CUDA graphs need a model on a CUDA device")
        self._blocks_of = compiled(self._eager, compile)
        self._captured = Captured(self._flat) if graphs else None
        self.shares = fmt.pos_embed.device.type == "cpu"
        self.one_shape = bool(compile)
        self._times: dict[tuple[float, ...], Tensor] = {}

    def bind(self, times: Sequence[float], conditions: Conditions) -> WindowField:
        """Prepares one window.

        Args:
            times: the flow times (or diffusion steps) the field will be asked for; others work too, at their own cost.
        """
        with torch.no_grad():
            columns = self.fmt.columns(conditions.map(lambda value: value.to(self.dtype)))
            return WindowField(self, columns, conditions.prev_x, times)

    def modulations(self, rows: Tensor, times: Tensor) -> list[Tensor]:
        """rows (R, inputs) of distinct conditions, times (S,) -> per block (S, R, 6 H) and for the head (S, R, 2 H)."""
        c = self.fmt.c_embedder(rows)[None] + self.fmt.t_embedder(times)[:, None]
        c = F.silu(c)
        return [part.adaLN_modulation[1](c) for part in (*self._blocks, self._head)]

    def on_device(self, times: Sequence[float]) -> Tensor:
        """Times (S,) where the networks are, copied there once."""
        key = tuple(times)
        if key not in self._times:
            self._times[key] = torch.tensor(key, dtype=torch.float32).to(self.fmt.pos_embed.device)
        return self._times[key]

    def run(self, tokens: Tensor, modulations: list[Tensor], index: Tensor, allowed: Tensor) -> Tensor:
        """All blocks and the head; tokens (B, L' + L, H), modulations of one time (R, .), index of each token's row."""
        if self._captured is None:
            return self._blocks_of(tokens, modulations, index, allowed)
        return self._captured(tokens, index, allowed, *modulations)

    def _flat(self, tokens: Tensor, index: Tensor, allowed: Tensor, *modulations: Tensor) -> Tensor:
        return self._blocks_of(tokens, list(modulations), index, allowed)

    def _eager(self, tokens: Tensor, modulations: list[Tensor], index: Tensor, allowed: Tensor) -> Tensor:
        """tokens (B, L' + L, H), modulations of one time (R, .), index (B, L' + L) of each token's row -> (B, L, D)."""
        depth, reach, kept = len(self._blocks), self.fmt.config.attention_window, self.fmt.config.previous
        for number, block in enumerate(self._blocks):
            tokens = block.modulated(tokens, modulations[number][index], allowed)
            drop = kept - min(kept, reach * (depth - 1 - number))
            if drop:
                kept -= drop
                tokens, index, allowed = tokens[:, drop:], index[:, drop:], allowed[drop:, drop:]
        return self._head.modulated(tokens, modulations[depth][index])


class WindowField:
    """v(t, x) of one window; made by `FastTransformer.bind`.

    Attributes:
        distinct_rows: how many condition rows are prepared, of B (L' + L): on a CPU the different ones.
    """

    def __init__(self, fast: FastTransformer, columns: Tensor, prev_x: Tensor | None, times: Sequence[float]) -> None:
        self._fast, fmt = fast, fast.fmt
        batch, length, _ = columns.shape
        rows = columns.flatten(0, 1)
        index = torch.arange(len(rows), device=rows.device)
        if fast.shares:
            rows, index = torch.unique(rows, dim=0, return_inverse=True)
        self._rows, self._index = rows, index.view(batch, length)
        self.distinct_rows = len(rows)
        self._allowed = ~fmt.alignment_mask
        expected = (batch, fmt.config.previous, fmt.config.dim_w)
        prev_x = columns.new_zeros(expected) if prev_x is None else prev_x
        if tuple(prev_x.shape) != expected:
            raise ValueError(f"prev_x must be {expected}, got {tuple(prev_x.shape)}")
        self._prev = fmt.x_embedder(prev_x.to(fast.dtype)) + fmt.pos_embed[:, : fmt.config.previous]
        self._steps = {_key(t): number for number, t in enumerate(times)}
        if times:
            self._prepared = self._modulations(fast.on_device(times))

    def _modulations(self, times: Tensor) -> list[Tensor]:
        """Those of the distinct rows; filled up to all rows where it is compiled for their number, which differs from
        window to window (the frames after the sound's end are alike)."""
        made = self._fast.modulations(self._rows, times)
        missing = self._index.numel() - len(self._rows) if self._fast.one_shape else 0
        return [F.pad(part, (0, 0, 0, missing)) for part in made] if missing else made

    @torch.no_grad()
    def __call__(self, t: float | Tensor, x: Tensor) -> Tensor:
        """t, one time for all, a number or on the CPU; x (B, L, D) -> the current frames (B, L, D) in its dtype."""
        fast, fmt = self._fast, self._fast.fmt
        expected = (self._index.shape[0], fmt.config.window, fmt.config.dim_w)
        if tuple(x.shape) != expected:
            raise ValueError(f"x must have shape {expected}, got {tuple(x.shape)}")
        step = self._steps.get(_key(t))
        if step is None:
            at = torch.tensor([float(t)], dtype=torch.float32, device=x.device)
            modulations = [part[0] for part in self._modulations(at)]
        else:
            modulations = [part[step] for part in self._prepared]
        current = fmt.x_embedder(x.to(fast.dtype)) + fmt.pos_embed[:, fmt.config.previous :]
        tokens = torch.cat((self._prev, current), dim=1)
        return fast.run(tokens, modulations, self._index, self._allowed).to(x.dtype, copy=True)


def _key(t: float | Tensor) -> float:
    """A time as its float32 value, so that Python numbers and tensors meet."""
    return float(torch.as_tensor(t, dtype=torch.float32))
