"""The `floatbench` program: collects the command groups and turns errors into exit codes."""

from __future__ import annotations

import json
import os
import sys
from functools import cache

import typer

from floatbench import __version__
from floatbench.errors import FloatbenchError
from floatbench.paths import quiet_third_parties

app = typer.Typer(
    name="floatbench",
    help="Benchmark audio-driven talking portraits; run, train, ablate and time FLOAT.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FLOATBENCH"},
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"floatbench {__version__}")
        raise typer.Exit()


@cache
def _collect() -> None:
    """Imports the command files, once; each registers itself on `app` and imports torch only inside its functions."""
    import importlib
    import pkgutil

    import floatbench.cli as package

    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if module.name not in {"app", "common"}:
            importlib.import_module(f"floatbench.cli.{module.name}").register(app)


def main(argv: list[str] | None = None) -> None:
    """Runs the command line and exits with the documented code (see floatbench.errors)."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--offline" in arguments:
        os.environ["FLOATBENCH_OFFLINE"] = "1"
    quiet_third_parties()
    _collect()
    try:
        code = app(args=arguments, prog_name="floatbench", standalone_mode=False)
    except FloatbenchError as error:
        _fail(error.what, error.fix, error.exit_code, arguments)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "floatbench"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if not message:  # the help was printed because no command was given
            raise SystemExit(2) from None
        _fail(" ".join(message.split()), f"{command} --help", 2, arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    if code == 130:
        _fail("interrupted; everything finished so far is saved", "run the same command again", 130, arguments)
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(what: str, fix: str | None, code: int, arguments: list[str]) -> None:
    print(f"error: {what}", file=sys.stderr)
    if fix:
        print(f"fix: {fix}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"error": what, "fix": fix, "exit_code": code}))
    raise SystemExit(code) from None
