"""The paper's ablations: each row is a change of the model or of the sampler, nothing else.

Table 3: frame-wise AdaLN against cross-attention, flow matching against epsilon and x0 diffusion. Table 2: head pose as
a further condition, no emotion, the image's emotion. The supplement sweeps NFE and guidance on one checkpoint. A row
with a network of its own is looked for in FOLDER/variants/ROW/float.safetensors, and trained there when asked: the
variants share one auto-encoder, its cached coefficients, the data and the number of steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from floatbench.data.catalogue import dataset_for
from floatbench.engine import runner
from floatbench.engine.missing import Unavailable
from floatbench.engine.runner import RunOptions, RunResult
from floatbench.errors import DataError, UsageError
from floatbench.files import write_json
from floatbench.methods import catalogue
from floatbench.methods.method import Method
from floatbench.model.checkpoint import read_metadata
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Protocol
from floatbench.sampling.choices import parse_name, split, unread
from floatbench.sampling.loading import BUNDLED, config_of
from floatbench.training.across import helps_training
from floatbench.training.beginning import needed_networks, refuse_missing_networks
from floatbench.training.clips import ClipSet
from floatbench.training.config import TrainConfig
from floatbench.training.configs import load_config
from floatbench.training.devices import training_device
from floatbench.training.shared_autoencoder import require_same_autoencoder, shared_autoencoder
from floatbench.training.train import clip_set, train_flow

Sweep = Literal["nfe", "guidance"]


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        row: its key in `results/paper`. name: what is printed.
        model: changed fields of the model's configuration; a row that changes any has a network of its own.
        sampling: changed sampling options.
    """

    row: str
    name: str
    model: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)


TABLE_3 = (
    Variant("cross-attention", "cross-attention instead of frame-wise AdaLN", {"conditioning": "cross"}),
    Variant("diffusion-epsilon", "diffusion, epsilon prediction", {"prediction": "epsilon"}),
    Variant("diffusion-x0", "diffusion, x0 prediction", {"prediction": "x0"}),
    Variant("float", "FLOAT"),
)
TABLE_2 = (
    Variant("A", "A: FLOAT (speech-to-emotion, S2E)"),
    Variant("B", "B: A + 3DPose", {"pose_condition": True}),
    Variant("C", "C: A - S2E", {"emotion_condition": "none"}),
    Variant("D", "D: A - S2E + I2E", {"emotion_condition": "image"}),
)
NFE = tuple(Variant(str(n), f"NFE {n}", sampling={"nfe": n}) for n in (2, 5, 10, 20))
GUIDANCE = tuple(
    Variant(f"{a},{e}", f"audio {a}, emotion {e}", sampling={"a_cfg": float(a), "e_cfg": float(e)})
    for a, e in ((1, 1), (1, 2), (2, 1), (2, 2))
)
TABLES: dict[int, tuple[Variant, ...]] = {2: TABLE_2, 3: TABLE_3}
SWEEPS: dict[Sweep, tuple[Variant, ...]] = {"nfe": NFE, "guidance": GUIDANCE}


@dataclass(frozen=True)
class VariantRow:
    """A row with the method name that the engine runs for it, "" when its network is missing."""

    variant: Variant
    method: str


def folder_of(folder: Path, variant: Variant) -> Path:
    """Where a row's own network is; `float` and `A` are the same network."""
    return folder / "variants" / ("float" if not variant.model else variant.row)


def rows(variants: Sequence[Variant], folder: Path, weights: str, own: bool) -> list[VariantRow]:
    """The method of every row.

    Args:
        weights: checkpoint of the rows that change no network, a name or a file; what a name chooses beside
            (`float-tiny?dtype=bfloat16`) holds for all rows whose network reads it, unless a row changes it.
        own: prefer FOLDER/variants/float for these, so that all rows had the same budget.
    """
    found = []
    weights, _, shared = weights.partition("?")
    for variant in variants:
        trained = folder_of(folder, variant) / "float.safetensors"
        if variant.model or (own and trained.is_file()):
            base = f"checkpoint:{trained}" if trained.is_file() else ""
        elif weights in BUNDLED and config_of(weights) is None:
            base = ""
        else:
            base = _method_name(weights)
        own_choices = [(key, str(value)) for key, value in variant.sampling.items()]
        query = "&".join(f"{key}={value}" for key, value in own_choices)
        if base and shared:
            idle = unread(variant.model.get("prediction", "velocity"))
            read = "&".join(f"{key}={value}" for key, value in split(shared) if key not in idle)
            base, query = parse_name(f"{base}?{read}", own_choices).name, ""
        found.append(VariantRow(variant, f"{base}?{query}" if base and query else base))
    return found


def _method_name(weights: str) -> str:
    """The method of a model's name or checkpoint file, choices included."""
    known = weights.partition("?")[0].partition("@")[0] in ("float", *BUNDLED)
    return weights if known else f"checkpoint:{weights}"


def train_variants(
    variants: Sequence[Variant],
    config: TrainConfig,
    folder: Path,
    steps: int,
    autoencoder: str | Path,
    progress: Progress | None = None,
    device: str = "auto",
    clips: ClipSet | None = None,
    workers: int = 1,
) -> dict[str, float]:
    """Trains the networks that are missing, `steps` steps each, and returns the seconds each one took.

    Args:
        autoencoder: checkpoint (name or file) whose motion auto-encoder all variants share; "" for what
            `shared_autoencoder` finds.
        clips: training clips, the configuration's by default. workers: processes that draw or prepare these.

    Raises:
        DataError: no such checkpoint. UsageError: it does not fit the configuration, or the folder holds networks that
            were trained with something else. Interrupted: the step in hand was saved; the same command goes on.
    """
    progress = progress or NullProgress()
    networks = {folder_of(folder, variant): variant for variant in variants}
    configs = {place: _config_of(config, variant, place.name, steps) for place, variant in networks.items()}
    missing = [place for place in networks if not (place / "float.safetensors").is_file()]
    if missing:
        require_networks(config, [networks[place] for place in missing])
    for place in configs.keys() - set(missing):
        _require_same(place / "float.safetensors", configs[place])
    if (kept := folder / "autoencoder.safetensors").is_file():
        require_same_autoencoder(config, kept, autoencoder)
    if not missing:
        return {}
    shared = shared_autoencoder(config, folder, autoencoder, progress, device, clips, workers)
    clips = clips or clip_set(config, progress, workers)
    seconds: dict[str, float] = {}
    for place in missing:
        place.mkdir(parents=True, exist_ok=True)
        _link(shared, place / "autoencoder.safetensors")
        start = time.monotonic()
        resume = (place / "flow" / "checkpoint.safetensors").is_file()
        train_flow(configs[place], place, progress, resume, device, workers, clips, folder)
        seconds[place.name] = round(time.monotonic() - start, 1)
        write_json(place / "budget.json", {"steps": steps, "seconds": seconds[place.name], "resumed": resume})
    return seconds


def _config_of(config: TrainConfig, variant: Variant, name: str, steps: int) -> TrainConfig:
    """The configuration that trains a variant."""
    model = replace(config.model, name=f"{config.model.name}-{name}", **variant.model)
    return replace(config, name=name, model=model, flow=replace(config.flow, steps=steps))


def _require_same(file: Path, config: TrainConfig) -> None:
    """Raises UsageError when a network was trained with another configuration or another number of steps."""
    record = json.loads(read_metadata(file).notes or "{}").get("training")
    if record is None:
        raise UsageError(f"{file} does not say how it was trained", fix="another --out")
    if (steps := record["flow"]["steps"]) != config.flow.steps:
        raise UsageError(
            f"{file} was trained for {steps} steps, not {config.flow.steps}", fix=f"--steps {steps}, or another --out"
        )
    if _decisive(record) != _decisive(config.record()):
        raise UsageError(f"{file} was trained with another configuration", fix="that --config, or another --out")


def _decisive(record: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration's record decides the weights of phase 2, its auto-encoder apart."""
    kept = {name: value for name, value in record.items() if name not in ("name", "autoencoder", "reader", "painter")}
    free = ("save_every", "sample_every", "recompute")
    return kept | {"flow": {name: value for name, value in record["flow"].items() if name not in free}}


def require_networks(config: TrainConfig, variants: Sequence[Variant]) -> None:
    """Raises DataError when a network that training a variant needs is missing, before the first one is trained."""
    models = [replace(config.model, **variant.model) for variant in variants]
    needed = [name for model in models for name in needed_networks(replace(config, model=model), "flow")]
    refuse_missing_networks(needed, "an ablation")


def budget(folder: Path, row: VariantRow) -> str:
    """`600 steps, 58 s` of a network trained here, else ""."""
    place = folder_of(folder, row.variant)
    file = place / "budget.json"
    if f"checkpoint:{place}" not in row.method or not file.is_file():
        return ""
    record = json.loads(file.read_text("utf-8"))
    return f"{record['steps']} steps, {record['seconds']:.0f} s"


def _unchosen(weights: str) -> str:
    """A model's name or file without what the name chooses beside the weights."""
    base = weights.partition("?")[0]
    return base if Path(base).is_file() else base.partition("@")[0]


def _named(name: str) -> Method:
    """The method of a row under the row's own name, which older folders have: `a_cfg=1.0`."""
    method = catalogue.create(name)
    method.name = name
    return method


def _link(shared: Path, target: Path) -> None:
    if not target.exists():
        target.hardlink_to(shared)


def missing_networks(found: Sequence[VariantRow]) -> DataError | None:
    """The error that names the rows without a network, or None."""
    absent = [row.variant.name for row in found if not row.method]
    if not absent:
        return None
    return DataError(f"no checkpoint for {'; '.join(absent)}", fix="the same command with --train")


@dataclass(frozen=True)
class AblationPlan:
    """What `floatbench ablate` was asked for.

    Attributes:
        protocol: name or file. tables, sweeps: of `TABLES` and `SWEEPS`; both tables when neither is given.
        train: train missing networks, `steps` steps each, with the training configuration `config`.
        weights: model of the rows that change no network and auto-encoder of all; "" is the configuration's own model.
        out: folder. options: of the engine; its methods and folder are filled in here.
    """

    protocol: str
    tables: tuple[int, ...]
    sweeps: tuple[str, ...]
    train: bool
    steps: int
    config: str
    weights: str
    out: Path
    options: RunOptions = field(default_factory=RunOptions)

    def chosen(self) -> dict[str, tuple[Variant, ...]]:
        """Heading -> rows; raises UsageError for a table or sweep that does not exist."""
        for number in self.tables:
            if number not in TABLES:
                raise UsageError(f"the paper's ablations are Tables 2 and 3, not {number}", fix="--table 2|3")
        for name in self.sweeps:
            if name not in SWEEPS:
                raise UsageError(f"unknown sweep {name!r}", fix=f"--sweep {'|'.join(SWEEPS)}")
        tables = self.tables or (() if self.sweeps else tuple(TABLES))
        found = {f"table {number}": TABLES[number] for number in tables}
        return found | {f"sweep {name}": rows for name, rows in SWEEPS.items() if name in self.sweeps}

    def model(self) -> str:
        """Name of the model that is not changed."""
        if self.weights:
            return self.weights
        return "float-tiny" if load_config(self.config).model.speech == "logmel" else "float"


@dataclass(frozen=True)
class Ablated:
    """Rows by heading, the run's result (None when no row could be run), and seconds of training by variant."""

    rows: dict[str, list[VariantRow]]
    result: RunResult | None
    trained: dict[str, float]


def _require_scores(plan: AblationPlan, variants: Sequence[Variant], protocol: Protocol, options: RunOptions) -> str:
    """The device to train on; raises before hours of training what scoring its rows would raise after them."""
    device = training_device(plan.options.device)
    parse_name(_method_name(plan.model()))
    for row in rows(variants, plan.out, plan.model(), own=False):
        if row.method:
            catalogue.create(row.method).check_device(device)
    if missing := runner.plan_run(protocol, dataset_for(protocol), options).missing:
        raise Unavailable(missing, protocol, may_skip=False)
    return device


def ablate(plan: AblationPlan, progress: Progress | None = None, clips: ClipSet | None = None) -> Ablated:
    """Trains what is missing when asked to, then runs and scores every row through the engine.

    Raises:
        UsageError: an unknown table, sweep, protocol or configuration. DataError: no row has a network.
    """
    progress = progress or NullProgress()
    chosen = plan.chosen()
    protocol = load_protocol(plan.protocol)
    out = plan.out / f"run-{protocol.id}-{protocol.hash[:8]}"
    options = replace(plan.options, methods=[], out=out)
    trained: dict[str, float] = {}
    tables_asked = any(heading.startswith("table") for heading in chosen)
    if plan.train and tables_asked:
        variants = list({folder_of(plan.out, v): v for rows_ in chosen.values() for v in rows_}.values())
        device = _require_scores(plan, variants, protocol, options)
        trained = train_variants(
            variants, load_config(plan.config), plan.out, plan.steps, _unchosen(plan.weights), progress, device, clips,
            plan.options.workers or 1,
        )  # fmt: skip
    found = {
        heading: rows(part, plan.out, plan.model(), own=heading.startswith("table")) for heading, part in chosen.items()
    }
    every = [row for part in found.values() for row in part]
    error = missing_networks(every)
    names = list(dict.fromkeys(row.method for row in every if row.method))
    if error is not None:
        if not names:
            raise error
        progress.note(f"{error.what} ({error.fix})")
    if helps_training():
        return Ablated(found, None, trained)
    options = replace(options, methods=[_named(name) for name in names])
    return Ablated(found, runner.run(protocol, dataset_for(protocol), options, progress), trained)
