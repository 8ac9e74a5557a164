"""The transformer of a FLOAT model as the network that the sampler calls: plain, and its fast twin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FLOAT as Model
from floatbench.sampling.guidance import Conditions, Evaluate, Network
from floatbench.sampling.sampler import MotionShape


def motion_shape(model: Model) -> MotionShape:
    """Window sizes of a model."""
    return MotionShape(model.config.window, model.config.previous, model.config.dim_w)


def plain_network(model: Model) -> Network:
    """Binds the transformer: its conditions are embedded once a window, its L current frames are returned."""
    fmt, previous = model.fmt, model.config.previous

    def network(c: Conditions) -> Evaluate:
        embedded = fmt.conditions(c.wa, c.wr, c.we, c.prev_wa, c.pose, c.prev_pose, c.prev_we)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            return fmt.evaluate(t, x, embedded, c.prev_x)[:, previous:]

        return evaluate

    return network


def fast_network(fast: FastTransformer, times: Sequence[float]) -> Network:
    """Binds the fast twin, which prepares the given times of a window at once and shares rows between branches."""

    def network(c: Conditions) -> Evaluate:
        field = fast.bind(
            times, c.wa, c.wr, c.we, c.prev_x, c.prev_wa, pose=c.pose, prev_pose=c.prev_pose, prev_we=c.prev_we
        )

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            return field(t[0], x)

        return evaluate

    return network
