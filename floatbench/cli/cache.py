"""`floatbench cache`: the shared feature cache."""

from __future__ import annotations

from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output, megabytes

group = typer.Typer(help="The shared cache of features; run folders keep links of their own.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="cache")


@command(group)
def path(output: Output) -> None:
    """Print the cache folder."""
    from floatbench import paths

    folder = str(paths.cache_dir())
    output.result({"path": folder}, folder)


@command(group)
def ls(output: Output) -> None:
    """Count files and bytes."""
    from floatbench.engine.features import cache_size, shared_cache
    from floatbench.engine.reduction import kept_scores

    found = {place.name: (place, *cache_size(place)) for place in (shared_cache(), kept_scores())}
    document = {name: {"files": files, "bytes": size} for name, (_, files, size) in found.items()}
    lines = [f"{name}: {files} files, {megabytes(size)} in {place}" for name, (place, files, size) in found.items()]
    output.result(document, "\n".join(lines))


@command(group)
def gc(
    output: Output,
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what was read within this many days.")] = 30.0,
) -> None:
    """Delete cached features and scores that were not used lately; nothing in a run folder is lost."""
    from floatbench.engine.features import collect_garbage, shared_cache
    from floatbench.engine.reduction import kept_scores

    removed = [collect_garbage(place, keep_days) for place in (shared_cache(), kept_scores())]
    files, size = (sum(column) for column in zip(*removed, strict=True))
    output.result({"removed": {"files": files, "bytes": size}}, f"removed {files} files, {megabytes(size)}")
