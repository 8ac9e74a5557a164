"""The `floatbench` program: collects the command groups and turns errors into exit codes."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import typer

from floatbench import __version__
from floatbench.cli.command import Program
from floatbench.cli.output import Output, abandon_output, prepare_streams, write
from floatbench.errors import DependencyError, FloatbenchError
from floatbench.paths import quiet_third_parties

ENVIRONMENT = {
    getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO")
}

app = typer.Typer(
    name="floatbench",
    cls=Program,
    help="Benchmark audio-driven talking portraits; run, train, ablate and time FLOAT.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FLOATBENCH"},
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", allow_from_autoenv=False, help="Print the version and exit."),
) -> None:
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
        register = getattr(importlib.import_module(f"floatbench.cli.{module.name}"), "register", None)
        if register is not None:
            register(app)


def main(argv: list[str] | None = None) -> None:
    """Runs the command line and exits with the documented code (see floatbench.errors)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    quiet_third_parties()
    _collect()
    # until a command is found, which reads its own options, a word is what it looks like
    output = Output(json="--json" in arguments)
    try:
        with _stopped_like_ctrl_c():
            code = _call(arguments, output)
            write("")  # what is still unwritten has to go out while an error can be told
    except FloatbenchError as error:
        code = _tell(output, error)
    except BrokenPipeError:  # the reader, `head` perhaps, has what it wanted
        abandon_output()
        code = 1
    raise SystemExit(code)


def _call(arguments: list[str], output: Output) -> int:
    """The command's exit code; every foreseen error as a FloatbenchError, except those of the command line itself."""
    try:
        code: Any = app(args=arguments, prog_name="floatbench", standalone_mode=False, obj=output)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "floatbench"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if message:  # it is empty when the help was printed because no command was given
            output.error(" ".join(message.split()), f"{command} --help", 2)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise DependencyError(f"{where}{error.strerror}", fix="floatbench doctor") from error
    if code == 130:
        output.error("interrupted; everything finished so far is saved", "run the same command again", 130)
    return code if isinstance(code, int) else 0


def _tell(output: Output, error: FloatbenchError) -> int:
    try:
        output.error(error.what, error.fix, error.exit_code, error.table, error.record)
    except (DependencyError, BrokenPipeError):  # standard output is what is broken; standard error has been told
        abandon_output()
    return error.exit_code


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """SIGTERM (a scheduler, `kill`) and SIGHUP (a closed terminal) end a command as Ctrl-C does; a second one at once.

    Who ignores them already (`nohup`) still does. Worker processes are ended by the code that they work for.
    """
    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in names if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def interrupt(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
