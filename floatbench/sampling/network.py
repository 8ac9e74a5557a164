"""The transformer of a FLOAT model as the network that the sampler calls: plain, and its fast twin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from floatbench.model.conditions import Conditions
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FloatModel
from floatbench.sampling.guidance import Evaluate, Network
from floatbench.sampling.sampler import MotionShape


def motion_shape(model: FloatModel) -> MotionShape:
    """Window sizes of a model."""
    return MotionShape(model.config.window, model.config.previous, model.config.dim_w)


def plain_network(model: FloatModel) -> Network:
    """Binds the transformer: its conditions are embedded once a window, its L current frames are returned."""
    fmt, previous = model.fmt, model.config.previous

    def network(conditions: Conditions) -> Evaluate:
        embedded = fmt.embed(conditions)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            return fmt.evaluate(t.to(x.device), x, embedded, conditions.prev_x)[:, previous:]

        return evaluate

    return network


def fast_network(fast: FastTransformer, times: Sequence[float]) -> Network:
    """Binds the fast twin, which prepares the given times of a window at once and shares rows between branches."""

    def network(conditions: Conditions) -> Evaluate:
        field = fast.bind(times, conditions)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            return field(t[0], x)

        return evaluate

    return network
