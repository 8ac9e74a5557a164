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

    files, size = cache_size(shared_cache())
    document = {"features": {"files": files, "bytes": size}}
    output.result(document, f"features: {files} files, {megabytes(size)} in {shared_cache()}")


@command(group)
def gc(
    output: Output,
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what was read within this many days.")] = 30.0,
) -> None:
    """Delete cached features that were not used lately; nothing in a run folder is lost."""
    from floatbench.engine.features import collect_garbage, shared_cache

    files, size = collect_garbage(shared_cache(), keep_days)
    output.result({"removed": {"files": files, "bytes": size}}, f"removed {files} files, {megabytes(size)}")
