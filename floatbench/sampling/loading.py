"""Loading a FLOAT model by name or file, and remembering where its weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from floatbench import weights
from floatbench.errors import DataError
from floatbench.files import file_sha256
from floatbench.model.float import FLOAT as Model

OFFICIAL = ("float", "wav2vec2-base-960h", "wav2vec2-speech-emotion")
"""Registry entries of the official model: its own file and the two speech networks it builds on."""

BUNDLED = {"float-tiny": "float-tiny.safetensors"}
"""Models inside the package, by file name in floatbench/assets."""


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        name: of the model. files: weight name -> SHA-256. licence: of the weights.
        fabricated: True when any file holds seeded random weights: what it makes cannot be scored.
    """

    name: str
    files: dict[str, str]
    licence: str = ""
    fabricated: bool = False

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return {"name": self.name, "files": self.files, "licence": self.licence, "fabricated": self.fabricated}


def origin_of(name_or_path: str | Path) -> Origin:
    """Where the weights of a model come from, without loading it.

    Raises:
        DataError: they are missing, with the command that fetches them.
    """
    name = str(name_or_path)
    if name == "float":
        return Origin(
            name,
            {entry: weights.sha256(entry) for entry in OFFICIAL},
            "; ".join(dict.fromkeys(weights.entry(entry).licence for entry in OFFICIAL)),
            any(weights.is_fabricated(entry) for entry in OFFICIAL),
        )
    file = checkpoint_file(name_or_path)
    return Origin(name if name in BUNDLED else file.stem, {file.name: file_sha256(file)}, "see its metadata")


def checkpoint_file(name_or_path: str | Path) -> Path:
    """The file of a bundled model or of a checkpoint given by path; raises DataError when there is none."""
    if bundled := BUNDLED.get(str(name_or_path)):
        file = Path(str(resources.files("floatbench"))) / "assets" / bundled
        if not file.is_file():
            raise DataError(
                f"this copy of floatbench has no {bundled}", fix="floatbench train flow --config float-tiny"
            )
        return file
    file = Path(name_or_path)
    if not file.is_file():
        raise DataError(f"{name_or_path} is neither float, {', '.join(BUNDLED)} nor a checkpoint file",
                        fix="floatbench weights list")  # fmt: skip
    return file


def load_model(name_or_path: str | Path, impl: Literal["plain", "fast"] = "fast") -> tuple[Model, Origin]:
    """A model in evaluation mode on the CPU, float32, and where it came from.

    Args:
        name_or_path: `float`, a name of `BUNDLED`, or a `.safetensors` file with its configuration in the metadata.

    Raises:
        DataError: missing, damaged or non-finite weights.
    """
    origin = origin_of(name_or_path)
    model = _from_safetensors(checkpoint_file(name_or_path), impl)
    bad = [key for key, value in model.state_dict().items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise DataError(f"the weights of {name_or_path} hold NaN or infinity, first in {bad[0]}",
                        fix="fetch or convert them again")  # fmt: skip
    return model.eval(), origin


def _from_safetensors(file: Path, impl: Literal["plain", "fast"]) -> Model:
    import json

    from safetensors import SafetensorError, safe_open

    from floatbench.model.float import FloatConfig

    try:
        with safe_open(file, framework="pt") as stream:
            metadata = stream.metadata() or {}
            state = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a dictionary
        model = Model(FloatConfig.from_dict(json.loads(metadata["config"])), impl)
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{file} is not a FLOAT checkpoint: {reason}", fix="floatbench weights convert --help"
        ) from error
    return model
