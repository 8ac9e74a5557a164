"""`floatbench baseline`: list, show, install, check, run, certify and add systems that run from their own code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output, table, warn

if TYPE_CHECKING:
    from floatbench.baselines.manifest import Manifest

NameArgument = Annotated[str, typer.Argument(help="A baseline; see `floatbench baseline list`.")]
PresetOption = Annotated[str, typer.Option("--preset", help="Of the manifest: protocol, author ...")]
ProfileOption = Annotated[str, typer.Option("--profile", help="Environment: modern or period.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")]
ImageOption = Annotated[Path | None, typer.Option("--image", "-i", help="A portrait in place of the drawn one.")]
AudioOption = Annotated[Path | None, typer.Option("--audio", "-a", help="A speech in place of the drawn face's.")]
FramesOption = Annotated[int | None, typer.Option("--frames", min=1, help="Of the clip; 10, or the fewest it takes.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the clip.")]
group = typer.Typer(help="Systems that run from their own official code.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the command group to the program."""
    app.add_typer(group, name="baseline")


@command(group)
def list_(output: Output) -> None:
    """Every baseline: what is installed, and how far it was proven to work."""
    from floatbench.baselines import manifest as manifests

    rows = [_row(manifests.load(name)) for name in manifests.names()]
    lines = [("NAME", "INSTALLED", "NEEDS", "PROVEN", "HOW", "LICENCE OF CODE", "COMMIT")]
    for row in rows:
        proven = row["proven"].get(row["proven_furthest"].replace(" ", "_"), "").partition(";")[0]
        installed, licence = ",".join(row["installed"]) or "-", row["licence"]["code"][:40]
        installed += f" ({', '.join(row['broken'])} broken: floatbench doctor)" if row["broken"] else ""
        needs = ", ".join(row["needs"]).replace("_", " ") or "-"
        lines.append((row["name"], installed, needs, row["proven_furthest"], proven, licence, row["commit"][:8]))
    output.result(rows, table(lines))


def _row(manifest: Manifest) -> dict[str, Any]:
    from floatbench.baselines.installed import install_record, installed_profiles, read_marker

    states = installed_profiles(manifest)
    records = {name: record for name in states if (record := install_record(manifest, name))}
    return {
        "name": manifest.id,
        "title": manifest.title,
        "repository": manifest.source.repo,
        "commit": manifest.source.commit,
        "installed": [name for name, wrong in states.items() if wrong is None],
        "broken": {name: wrong.what for name, wrong in states.items() if wrong is not None},
        "fabricated": [name for name, record in records.items() if read_marker(Path(record.weights)) is not None],
        "proven": manifest.proven.model_dump(),
        "proven_furthest": manifest.proven.furthest,
        "presets": list(manifest.presets),
        "profiles": list(manifest.profiles),
        "licence": manifest.licence.model_dump(),
        "seeded": manifest.seed_hook != "none",
        "needs": list(manifest.needs),
    }


@command(group)
def show(
    name: NameArgument,
    output: Output,
    container: Annotated[str, typer.Option("--container", help="Print a recipe instead: docker or apptainer.")] = "",
    profile: ProfileOption = "modern",
) -> None:
    """Everything the manifest says about a system, or a container recipe around its lock."""
    from floatbench.baselines import manifest as manifests
    from floatbench.baselines.install import container_recipe, licence_text
    from floatbench.errors import UsageError

    manifest = manifests.load(name)
    if container:
        if container not in ("docker", "apptainer"):
            raise UsageError(f"unknown container {container!r}", fix="--container docker|apptainer")
        recipe = container_recipe(manifest, profile, container)
        output.result({"container": container, "recipe": recipe}, recipe)
        return
    document = manifest.model_dump(mode="json") | {"installed": _row(manifest)["installed"]}
    parts = [_field(key, value) for key, value in document.items() if key not in ("licence", "title")]
    output.result(document, "\n".join([licence_text(manifest), *filter(None, parts)]))


def _field(key: str, value: Any, indent: str = "") -> str:
    """A part of a document as indented lines; nothing for what is empty."""
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, dict):
        parts = [_field(name, part, indent + "  ") for name, part in value.items()]
        return "\n".join([f"{indent}{key}", *filter(None, parts)])
    if isinstance(value, list) and isinstance(value[0], dict):
        rows = (", ".join(f"{k} {v}" for k, v in part.items() if v not in (None, "", [], False)) for part in value)
        return "\n".join([f"{indent}{key}", *(f"{indent}  {row}" for row in rows)])
    return f"{indent}{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


@command(group)
def install(
    name: NameArgument,
    output: Output,
    profile: ProfileOption = "modern",
    source: Annotated[Path | None, typer.Option("--source", help="An existing clone with the pinned commit.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="An existing folder of weights.")] = None,
    environment: Annotated[
        Path | None, typer.Option("--environment", help="An existing environment, used as it is.")
    ] = None,
    python: Annotated[str, typer.Option("--python", help="Interpreter to make the environment from.")] = "",
    fabricate: Annotated[
        str, typer.Option("--fabricate", help="tiny or full: random weights, to try the code; never scored.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of fabricated weights.")] = 0,
    accept_license: Annotated[bool, typer.Option("--accept-license", help="Accept the terms shown.")] = False,
    reinstall: Annotated[bool, typer.Option("--reinstall", help="Make the environment again.")] = False,
) -> None:
    """Shows the licences, clones the pinned commit, makes the environment from its lock, fetches the weights."""
    from floatbench.baselines import install as steps
    from floatbench.baselines import manifest as manifests

    manifest = manifests.load(name)
    manifest.profile(profile)
    _ask_licence(manifest, accept_license, output)
    choices = steps.Choices(source, weights, environment, python, fabricate, seed, reinstall)
    record = steps.install(manifest, profile, choices, output.progress())
    text = f"{name}: profile {profile} is installed (Python {record.python}); try: floatbench baseline check {name}"
    output.result(record.model_dump(), text)


def _ask_licence(manifest: Manifest, accepted: bool, output: Output) -> None:
    from floatbench.baselines.install import accept_licence, licence_accepted, licence_text
    from floatbench.errors import DependencyError

    if licence_accepted(manifest):
        return
    warn(licence_text(manifest))
    if not accepted:
        if not output.can_ask():
            raise DependencyError(
                f"the licence of {manifest.id} has not been accepted",
                fix=f"floatbench baseline install {manifest.id} --accept-license",
            )
        typer.confirm("Do you accept these terms?", abort=True, err=True)
    accept_licence(manifest)


@command(group)
def check(
    name: NameArgument,
    output: Output,
    preset: PresetOption = "protocol",
    profile: ProfileOption = "",
    device: DeviceOption = "auto",
    frames: FramesOption = None,
    seed: SeedOption = 0,
    image: ImageOption = None,
    audio: AudioOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the clip (.mkv).")] = None,
) -> None:
    """Loads the networks and makes one clip from a drawn portrait: load time, seconds a frame, memory."""
    from floatbench.device import pick_device
    from floatbench.methods.baseline import method
    from floatbench.methods.baseline_runs import make_clip, picture_and_sound

    device = pick_device(device)
    picture, sound = _told(lambda: picture_and_sound(image, audio, frames or _clip_length(name)), name)
    made = _told(lambda: make_clip(method(name, preset, profile), picture, sound, seed << 32, device, out), name)
    report = {
        "name": name,
        "preset": preset,
        "device": device,
        "frames": len(made.frames),
        "height": made.frames.shape[1],
        "width": made.frames.shape[2],
        "load_s": made.ready.get("load_s"),
        "start_s": round(made.start_s, 3),
        "seconds_per_frame": round(made.details["driver_s"] / len(made.frames), 4),
        "overhead_s": round(made.clip_s - made.details["driver_s"], 4),
        "stages": {stage: round(seconds, 4) for stage, seconds in made.timing.items()},
        "memory": made.details["memory"],
        "parameters": made.ready.get("parameters"),
        "versions": made.details["versions"],
        "seeded": made.details["seeded"],
        "fabricated": _fabricated(name, profile, preset, device),
    }
    output.result(report, "\n".join(filter(None, (_field(key, value) for key, value in report.items()))))


def _clip_length(name: str) -> int:
    """Frames of a trial clip: ten, or the fewest that the system takes."""
    from floatbench.baselines import manifest as manifests

    return max(10, manifests.load(name).limits.min_frames)


def _fabricated(name: str, profile: str, preset: str, device: str) -> bool:
    from floatbench.baselines import manifest as manifests
    from floatbench.baselines.installed import resolve

    return resolve(manifests.load(name), device, preset, profile).fabricated is not None


def _told(work: Any, name: str) -> Any:
    """Runs one clip; a failure prints the system's last lines on standard error."""
    from floatbench.errors import ClipError, RunIncomplete

    try:
        return work()
    except ClipError as error:
        for line in error.details.get("stderr_tail", []):
            warn(line)
        raise RunIncomplete(f"{name}: {error}") from None


@command(group)
def run(
    name: NameArgument,
    output: Output,
    audio: Annotated[Path, typer.Option("--audio", "-a", help="The speech; a video's sound will do.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=".mp4 with sound, or .mkv for lossless pictures.")],
    image: Annotated[Path | None, typer.Option("--image", "-i", help="The portrait; a square face crop.")] = None,
    video: Annotated[
        Path | None, typer.Option("--video", help="In place of the portrait, for systems that need a source video.")
    ] = None,
    preset: PresetOption = "protocol",
    profile: ProfileOption = "",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Animates one picture with a baseline, or dubs one video."""
    from floatbench.device import pick_device
    from floatbench.errors import DataError, UsageError
    from floatbench.media import read_audio, write_lossless, write_mp4
    from floatbench.methods.baseline import method
    from floatbench.methods.baseline_runs import make_clip, picture_or_video

    if out.suffix not in (".mp4", ".mkv"):
        raise UsageError(f"{out}: the suffix must be .mp4 or .mkv", fix="--out clip.mp4")
    system = method(name, preset, profile)
    pictures = _told(lambda: picture_or_video(system, image, video), name)
    sound = _told(lambda: read_audio(audio), name)
    sound = sound[: len(sound) // 640 * 640]
    if len(sound) == 0:
        raise DataError(f"{audio} is shorter than one frame (40 ms)")
    made = _told(lambda: make_clip(system, pictures[0], sound, seed << 32, pick_device(device), video=pictures), name)
    if out.suffix == ".mkv":
        write_lossless(out, made.frames)
    else:
        comment = f"synthetic media: {name}, preset {preset}"
        write_mp4(out, made.frames, sound[: len(made.frames) * 640], {"comment": comment})
    report = {"path": str(out), "frames": len(made.frames), "driver_s": made.details["driver_s"],
              "seed": made.details["seed"]}  # fmt: skip
    output.result(report, f"{out}: {report['frames']} frames in {report['driver_s']:.1f} s")


@command(group)
def certify(
    name: NameArgument,
    output: Output,
    profiles: Annotated[str, typer.Option("--profiles", help="The two to compare.")] = "period,modern",
    preset: PresetOption = "protocol",
    device: DeviceOption = "cpu",
    frames: FramesOption = None,
    seed: SeedOption = 0,
    image: ImageOption = None,
    audio: AudioOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="The certificate (JSON).")] = None,
) -> None:
    """Compares two installed profiles on the same weights, inputs and seed, and stores the certificate."""
    from floatbench.baselines import manifest as manifests
    from floatbench.baselines.installed import root
    from floatbench.device import pick_device
    from floatbench.errors import RunIncomplete, UsageError
    from floatbench.files import write_json
    from floatbench.methods.baseline_runs import certify_profiles, picture_and_sound

    pair = tuple(part.strip() for part in profiles.split(","))
    if len(pair) != 2:
        raise UsageError(f"--profiles {profiles}: two names are wanted", fix="--profiles period,modern")
    progress = output.progress()
    inputs = _told(lambda: picture_and_sound(image, audio, frames or _clip_length(name)), name)
    found = _told(
        lambda: certify_profiles(name, (pair[0], pair[1]), preset, pick_device(device), inputs, seed, progress), name
    )
    path = out or root(manifests.load(name)) / f"certificate-{pair[0]}-{pair[1]}.json"
    write_json(path, found)
    difference = found["difference"]
    kind = "fabricated weights" if found["fabricated_weights"] else "official weights"
    output.result(
        found,
        f"{name}: {pair[0]} against {pair[1]} on {kind}: mean {difference['mean']:.2e}, "
        f"p99.9 {difference['p999']:.2e}, max {difference['maximum']:.2e} of the range: "
        f"{'passed' if found['passed'] else 'NOT passed'}; {path}",
    )
    if not found["passed"]:
        raise RunIncomplete(f"{name}: the profiles differ by more than the gate allows")


@command(group)
def new(
    name: NameArgument,
    output: Output,
    folder: Annotated[Path, typer.Option("--folder", help="Where the folder is made.")] = Path("baselines"),
) -> None:
    """Makes the folder of a new system from a template: manifest, driver, fabricator, requirements."""
    from floatbench.baselines.template import create

    made = create(name, folder)
    document = {"folder": str(made), "files": sorted(path.name for path in made.iterdir())}
    text = f"{made}: fill in manifest.toml and driver.py, then: floatbench baseline install {name}"
    output.result(document, text)
