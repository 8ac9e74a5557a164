"""What `import floatbench` offers as functions: the main jobs, called from Python as the commands call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floatbench.errors import UsageError
from floatbench.types import ClipMedia

if TYPE_CHECKING:
    import pandas as pd

    from floatbench.animate.pipeline import Video
    from floatbench.engine.runner import RunResult
    from floatbench.methods.method import Method
    from floatbench.metrics.base import Metric, Score
    from floatbench.progress import Progress
    from floatbench.protocol.protocol import Protocol

SCORE_METRICS = ("psnr-grey128", "ssim-grey128", "efid-mp52", "pfid-mp6", "avcorr-excess")
"""What `score` measures when nothing else is asked for."""


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run: shows its table, gives its numbers as data frames.

    Attributes:
        run: the records: folder, scores with their provenance, rows with failures.
    """

    run: RunResult

    @property
    def folder(self) -> Path:
        """The run folder; the same call again carries on in it."""
        return self.run.folder

    @property
    def complete(self) -> bool:
        """True when no clip was rejected or failed in any metric and no score is void."""
        return self.run.complete

    @property
    def scores(self) -> pd.DataFrame:
        """A row for each method and metric: value, interval, `n` of `n_available`, void, spread of replicates."""
        import pandas as pd

        cells = [cell.model_dump(mode="json") for cell in self.run.scores.scores]
        frame = pd.DataFrame.from_records(cells)
        for bound in ("low", "high"):
            frame[bound] = [(cell["interval"] or {}).get(bound) for cell in cells]
        frame["n_failures"] = [len(cell["failures"]) for cell in cells]
        first = ["method", "metric", "column", "value", "low", "high", "n", "n_available", "n_failures", "void"]
        rest = ["no_interval", "replicate_values", "replicate_spread", "common_value", "common_n"]
        return frame.loc[:, [*first, *rest]]

    @property
    def clips(self) -> pd.DataFrame:
        """A row for each clip, method and metric: the value, or why there is none (`clip_values.parquet`)."""
        import pandas as pd

        return pd.read_parquet(self.folder / "clip_values.parquet")

    @property
    def failed(self) -> pd.DataFrame:
        """The clips that failed, with their reasons."""
        import pandas as pd

        rows = [row.model_dump(mode="json") for row in self.run.failed]
        return pd.DataFrame.from_records(rows, columns=["method", "clip", "replicate", "reason", "detail"])

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_markdown_(self) -> str:
        from floatbench.reports.table import markdown

        return markdown(self.run.scores)


def run(
    protocol: str | Path | Protocol,
    methods: Sequence[str | Method] = (),
    *,
    metrics: Sequence[str] | None = None,
    controls: bool = True,
    limit: int | None = None,
    clips: Sequence[str] | None = None,
    out: str | Path | None = None,
    boxes: str | None = None,
    size: int | None = None,
    replicates: int = 1,
    seed: int | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    timeout: float | None = None,
    executor: str = "local",
    address: str = "auto",
    strip_suffix: Sequence[str] = (),
    skip_unavailable: bool = False,
    skip_rejected: bool = False,
    retry_failed: bool = False,
    keep_videos: bool = True,
    crop_videos: str = "none",
    any_framing: bool = False,
    source_video: str | None = None,
    trained_with: Mapping[str, Sequence[str]] | None = None,
    dubbed: Sequence[str] = (),
    progress: Progress | None = None,
) -> Result:
    """Generates, extracts and scores, as `floatbench run` does; the same call again carries on where it stopped.

    Worker processes import the calling script anew: a script needs the usual `if __name__ == "__main__":`, or
    `workers=0`, which stays in this process.

    Args:
        protocol: `hdtf`, `ravdess`, `synthetic`, `folder:DIR`, a TOML file, or a `Protocol`.
        methods: names (`float`, a baseline, `videos:DIR as NAME`, a plugin's) or `Method` objects; controls are added
            unless `controls` is False. An object must be picklable until it is loaded, or `workers` 0.
        metrics: variant ids or names of sets (`motion`); None takes the protocol's.
        limit, clips: the first N clips, or clips by id; such runs are never ranked.
        out: the run folder; None makes `runs/<protocol>-<hash>`.
        boxes, size: of `folder:DIR`, see `load_protocol`; not together with a `Protocol`.
        replicates, seed: repetitions with further seeds; the run's seed, None takes the protocol's.
        workers, threads, device, timeout, executor, address: where and how it runs.
        strip_suffix: what may stand behind a clip's name in the name of a finished video: `["_gen"]`.
        skip_unavailable, skip_rejected: leave out what is missing; go on though more than half of the clips were
            refused.
        retry_failed, keep_videos: try failed clips again; keep videos.
        crop_videos: `same` cuts finished videos as the reference was cut out of its original.
        any_framing: score finished videos though they are framed differently from the reference; tables say so.
        source_video: what a system that needs a video is given (`still`, `other-clip`, `own`), see `load_protocol`.
        trained_with: name of finished videos -> networks that taught their system (`{"Ours": ["syncnet"]}`).
        dubbed: names of finished videos whose system was given the protocol's source video; it is not to be `none`.

    Raises:
        UsageError: unknown names, a folder of another run, finished videos framed differently from the reference.
        DataError: missing data or weights, most clips refused. DependencyError: disk or device.
        Interrupted: what was finished is kept.

    Example:
        >>> import floatbench
        >>> result = floatbench.run("synthetic", ["float-tiny"], metrics=["psnr-grey128"], limit=1, controls=False,
        ...                         workers=0)
        >>> result.scores[["method", "metric", "n"]].values.tolist()
        [['float-tiny', 'psnr-grey128', 1]]
    """
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine import runner
    from floatbench.methods.catalogue import default_methods
    from floatbench.methods.videos import read_trained_with
    from floatbench.protocol.load import load_protocol
    from floatbench.protocol.protocol import Protocol

    if isinstance(protocol, Protocol):
        if (boxes, size, source_video) != (None, None, None):
            raise UsageError("boxes, size and source_video belong to load_protocol when a Protocol is given")
        loaded = protocol
    else:
        loaded = load_protocol(str(protocol), boxes=boxes, size=size, source_video=source_video)
    options = runner.RunOptions(
        methods=_methods(methods) or default_methods(loaded),
        metrics=None if metrics is None else _names(metrics, "metrics"),
        controls=controls, limit=limit, clips=None if clips is None else _names(clips, "clips"),
        out=None if out is None else Path(out), replicates=replicates, seed=seed, workers=workers, threads=threads,
        executor=executor, address=address, device=device, timeout=timeout, skip_unavailable=skip_unavailable,
        skip_rejected=skip_rejected, retry_failed=retry_failed, keep_videos=keep_videos,
        strip_suffixes=_names(strip_suffix, "strip_suffix"),
        crop_videos=crop_videos, any_framing=any_framing,
        trained_with=read_trained_with([f"{name}={','.join(found)}" for name, found in (trained_with or {}).items()]),
        dubbed=_names(dubbed, "dubbed"),
    )  # fmt: skip
    return _finished(runner.run(loaded, dataset_for(loaded), options, progress))


def score(
    generated: str | Path,
    reference: str | Path,
    *,
    metrics: Sequence[str] = SCORE_METRICS,
    controls: bool = True,
    name: str = "",
    trained_with: Sequence[str] = (),
    strip_suffix: Sequence[str] = (),
    out: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    skip_unavailable: bool = False,
    any_framing: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Scores a folder of finished videos against a folder of real ones, as `floatbench score` does.

    Videos are matched by name and taken as they are, on 25 frames a second; a `.wav` beside a real video is its sound.
    `name` is the system's; without it the system is named after its folder. `trained_with` are the networks that taught
    it (`["syncnet"]`). The other arguments and the errors are those of `run`.

    Example:
        >>> import floatbench
        >>> result = floatbench.score("mine", "real", metrics=["psnr-grey128"], controls=False, workers=0)
        >>> float(result.scores.value[0])
        100.0
    """
    from floatbench.data.as_is import AsIsDataset
    from floatbench.engine import runner
    from floatbench.methods.videos import VideosMethod, read_trained_with
    from floatbench.metrics.sets import expanded
    from floatbench.protocol.two_folders import as_is_protocol

    ends = _names(strip_suffix, "strip_suffix")
    if not Path(generated).is_dir():
        raise UsageError(f"{generated} is not a folder", fix="give --generated the folder of finished videos")
    protocol = as_is_protocol(Path(reference), tuple(expanded(_names(metrics, "metrics"))))
    system = VideosMethod(generated, name, ends)
    taught = [f"{system.name}={','.join(_names(trained_with, 'trained_with'))}"] if trained_with else []
    options = runner.RunOptions(
        methods=[system], controls=controls, out=None if out is None else Path(out), workers=workers, device=device,
        skip_unavailable=skip_unavailable, any_framing=any_framing, trained_with=read_trained_with(taught),
    )  # fmt: skip
    return _finished(runner.run(protocol, AsIsDataset(protocol), options, progress))


def measure(
    metric: str | Metric,
    generated: Iterable[Any],
    reference: Iterable[Any] | None = None,
    source: Iterable[Any] | None = None,
    *,
    identities: Sequence[str] | None = None,
    device: str = "auto",
) -> Score:
    """One metric over clips in memory or files, without a run folder: nothing is cropped, nothing is cached.

    Clips are compared pair by pair in the order given. A file that cannot be read is a failure of its clip, named in
    `Score.failures`. For several metrics from one decode, controls and a table use `score` or `run`.

    Args:
        metric: a variant id such as `fid`, or a `Metric`.
        generated, reference: for each clip a video file, frames (T, H, W, 3) or (T, 3, H, W) uint8 RGB at 25 frames a
            second, or (frames, (640 T,) int16 sound at 16 kHz); NumPy arrays or torch tensors.
        source: for each clip a picture file or (H, W, 3) uint8, for metrics that compare with the source.
        identities: the person of each clip, for the interval; None counts every clip as its own person.

    Raises:
        UsageError: a side that the metric needs is missing, counts differ, or an array is of another kind: pictures
            and sounds in 0..1 are refused, not taken for black and silent ones.
        DataError: weights are missing.

    Example:
        >>> import floatbench
        >>> floatbench.measure("psnr-grey128", ["mine/a.mkv"], ["real/a.mkv"]).value
        100.0
    """
    from floatbench.device import pick_device
    from floatbench.metrics import direct, registry
    from floatbench.metrics.base import Metric

    found = registry.metric(metric) if isinstance(metric, str) else metric
    if not isinstance(found, Metric):
        raise UsageError(f"{found!r} is no metric", fix="give the id of a variant or an instance: FID()")
    sides = [_clips(generated, _video), _clips(reference, _video), _clips(source, _picture)]
    return direct.measure(found, sides[0] or [], sides[1], sides[2], identities, pick_device(device))


def compare(
    runs: Sequence[str | Path | Result], systems: Sequence[str] = (), *, metrics: Sequence[str] | None = None
) -> pd.DataFrame:
    """Which system is better, by the paired test on the clips that both have, as `floatbench compare` says it.

    Args:
        runs: finished runs of one protocol. systems: two or more: each with each; one: it with all others; none: all.
        metrics: variant ids; None takes all of the runs.

    Returns:
        A row for each pair and metric: the scores on the common clips, difference (a - b) with `low` and `high`, `p`,
        `adjusted` for the number of comparisons, `word` (what `a` is: better, worse, not decided), or `why` no test.

    Raises:
        UsageError: unknown names, one system only, runs of different protocols. DataError: a run that has not finished.

    Example:
        >>> import floatbench
        >>> result = floatbench.score("mine", "real", metrics=["psnr-grey128"], workers=0)
        >>> found = floatbench.compare([result], ["videos:mine", "reference"])
        >>> found[["metric", "a", "b", "word"]].values.tolist()
        [['psnr-grey128', 'videos:mine', 'reference', 'not decided']]
        >>> found.why[0]
        '1 person and 1 clip are too few: at least 8 people, or 8 clips of each, are needed'
    """
    import pandas as pd

    from floatbench.reports.comparison import compare_runs
    from floatbench.reports.loading import load_run

    if isinstance(runs, (str, Path, Result)):
        raise UsageError(f"runs must be a list, not {runs!r}", fix="floatbench.compare([run])")
    folders = [run.folder if isinstance(run, Result) else Path(run) for run in runs]
    variants = [] if metrics is None else _names(metrics, "metrics")
    found = compare_runs([load_run(folder) for folder in folders], _names(systems, "systems"), variants)
    return pd.DataFrame.from_records(found.record()["verdicts"])


def generate(
    image: Any,
    audio: Any,
    out: str | Path = "out.mp4",
    *,
    weights: str | Path = "float",
    device: str = "auto",
    **choices: Any,
) -> Video:
    """Animates one portrait with one sound; for more than one video keep a `FLOAT.from_pretrained` and use it again.

    Args:
        image, audio, out: see `FLOAT.generate`.
        weights: `float`, `float-tiny` or a checkpoint file, with its choices: `float@official?nfe=5&dtype=bfloat16`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        choices: the other arguments of `FLOAT.generate` (`nfe=5`, `emotion="happy"`, `seed=7` ...), and `dtype`,
            `impl`, `compile` and `graphs` of `FLOAT.from_pretrained`.

    Example:
        >>> import floatbench
        >>> video = floatbench.generate("face.png", "speech.wav", "talking.mp4", weights="float-tiny")
        >>> video.n_frames
        25
    """
    from floatbench.animate.cropping import AUTO, settle
    from floatbench.animate.outputs import check_outputs
    from floatbench.animate.pipeline import FLOAT
    from floatbench.animate.wishes import asked
    from floatbench.media.boxes import BoxBackend
    from floatbench.sampling.choices import ARITHMETIC, model_of
    from floatbench.sampling.loading import card_of, config_of
    from floatbench.sampling.picture import check_picture

    check_outputs([Path(out)], [Path(one) for one in (image, audio) if isinstance(one, (str, Path))])
    arithmetic = {name: choices.pop(name) for name in ARITHMETIC if name in choices}
    named = model_of(weights)
    if (config := config_of(named.weights)) is not None:  # what cannot be is noticed before the model is loaded
        wishes: Any = {name: value for name, value in choices.items() if name != "progress"}
        asked(wishes, named.choices, card_of(named.weights), config)
        crop, array = wishes.get("crop", AUTO), not isinstance(image, (str, Path))
        if not isinstance(crop, BoxBackend):
            settle(crop, [check_picture(image) if array else Path(image)], config.image_size, given=array)
    return FLOAT.from_pretrained(weights, device=device, **arithmetic).generate(image, audio, out, **choices)


def _finished(result: RunResult) -> Result:
    from floatbench.reports.table import write_tables

    write_tables(result.folder, result.scores)
    return Result(result)


def _methods(given: Sequence[str | Method]) -> list[str | Method]:
    """Names and objects as they are; a single one is refused, since its letters would be taken for names."""
    from floatbench.methods.method import Method

    if isinstance(given, str) or not all(isinstance(method, (str, Method)) for method in given):
        raise UsageError(f"methods must be a list of names or Method objects, not {given!r}", fix='methods=["..."]')
    return list(given)


def _names(given: Sequence[str], what: str) -> list[str]:
    """A list of names; a single text is refused, since its letters would be taken for names."""
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise UsageError(f"{what} must be a list of names, not {given!r}", fix=f'{what}=["..."]')
    return list(given)


def _clips(side: Iterable[Any] | None, read: Callable[[Path], ClipMedia]) -> list[Any] | None:
    """Paths become functions that read them when their turn comes; everything else is handed on."""
    if side is None:
        return None
    if isinstance(side, (str, Path)):
        raise UsageError(f"clips must be a list, not {side!r}", fix="floatbench.score takes two folders")
    if isinstance(side, ClipMedia):
        raise UsageError("clips must be a list, not one clip", fix="put it into brackets")
    return [partial(read, Path(clip)) if isinstance(clip, (str, Path)) else clip for clip in side]


def _video(path: Path) -> ClipMedia:
    from floatbench.media import read_clip

    return read_clip(path, min_frames=1)


def _picture(path: Path) -> ClipMedia:
    from floatbench.media import read_image

    return ClipMedia(read_image(path)[None])
