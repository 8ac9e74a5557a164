"""floatbench: a benchmark that anybody can repeat for audio-driven talking portraits, and a reference FLOAT.

    >>> import floatbench
    >>> result = floatbench.run("synthetic", methods=["float-tiny"])        # doctest: +SKIP

`run`, `score`, `measure`, `compare`, `generate` and `load_protocol` do what the commands of the same names do;
`Protocol`, `Clip`, `Method`, `Backbone`, `Metric` and `Score` are what a plugin or a notebook works with; `FLOAT` is
the reference model. Only these names are public: every other module is private by convention and may change without
notice. Nothing is imported before a name is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what `typing` calls by this name; importing that here would take a working folder's typing.py

__version__ = "0.2.0"

_PLACES = {
    "run": "floatbench.api",
    "score": "floatbench.api",
    "measure": "floatbench.api",
    "compare": "floatbench.api",
    "generate": "floatbench.api",
    "load_protocol": "floatbench.protocol.load",
    "Protocol": "floatbench.protocol.protocol",
    "Clip": "floatbench.protocol.protocol",
    "Method": "floatbench.methods.method",
    "Backbone": "floatbench.metrics.base",
    "Metric": "floatbench.metrics.base",
    "Score": "floatbench.metrics.base",
    "FLOAT": "floatbench.animate.pipeline",
}

if TYPE_CHECKING:
    from floatbench.animate.pipeline import FLOAT
    from floatbench.api import compare, generate, measure, run, score
    from floatbench.methods.method import Method
    from floatbench.metrics.base import Backbone, Metric, Score
    from floatbench.protocol.load import load_protocol
    from floatbench.protocol.protocol import Clip, Protocol

__all__ = [
    "FLOAT",
    "Backbone",
    "Clip",
    "Method",
    "Metric",
    "Protocol",
    "Score",
    "compare",
    "generate",
    "load_protocol",
    "measure",
    "run",
    "score",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'floatbench' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
