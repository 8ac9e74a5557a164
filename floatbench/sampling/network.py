"""The transformer of a FLOAT model as the network that the sampler calls."""

from __future__ import annotations

from torch import Tensor

from floatbench.model.float import FLOAT as Model
from floatbench.sampling.guidance import Conditions, Evaluate, Network
from floatbench.sampling.sampler import MotionShape


def motion_shape(model: Model) -> MotionShape:
    """Window sizes of a model."""
    return MotionShape(model.config.window, model.config.previous, model.config.dim_w)


def network_of(model: Model) -> Network:
    """Binds the transformer: its conditions are embedded once a window, its L current frames are returned."""
    fmt, previous = model.fmt, model.config.previous

    def network(c: Conditions) -> Evaluate:
        dtype = fmt.c_embedder.weight.dtype
        c = c.map(lambda value: value.to(dtype))
        embedded = fmt.conditions(c.wa, c.wr, c.we, c.prev_wa, c.pose, c.prev_pose, c.prev_we)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            return fmt.evaluate(t, x.to(dtype), embedded, c.prev_x)[:, previous:].to(x.dtype)

        return evaluate

    return network
