"""`floatbench cache`: the shared feature cache."""

from __future__ import annotations

from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, print_json

group = typer.Typer(help="The shared cache of features; run folders keep links of their own.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="cache")


@group.command("path")
def show_path(json_output: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """Print the cache folder."""
    from floatbench import paths

    print_json({"path": str(paths.cache_dir())}) if json_output else typer.echo(str(paths.cache_dir()))


@group.command("ls")
def ls(json_output: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """Count files and bytes."""
    from floatbench import paths
    from floatbench.engine.features import cache_size

    files, size = cache_size(paths.cache_dir() / "features")
    if json_output:
        print_json({"features": {"files": files, "bytes": size}})
    else:
        typer.echo(f"features: {files} files, {size / 1e6:.1f} MB in {paths.cache_dir() / 'features'}")


@group.command("gc")
def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what was read within this many days.")] = 30.0,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete cached features that were not used lately; nothing in a run folder is lost."""
    from floatbench import paths
    from floatbench.engine.features import collect_garbage

    files, size = collect_garbage(paths.cache_dir() / "features", keep_days)
    if json_output:
        print_json({"removed": {"files": files, "bytes": size}})
    else:
        typer.echo(f"removed {files} files, {size / 1e6:.1f} MB")
