"""What all commands share: the three options that each of them has, and one name for an option wherever it is set."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from floatbench.cli.complete import is_offered, values
from floatbench.cli.help import COMMAND_PANELS, command_panel, epilogue, option_panel, value_word
from floatbench.cli.output import Output
from floatbench.paths import quiet_third_parties

Function = TypeVar("Function", bound=Callable[..., int | None])


@dataclass(frozen=True)
class _Shared:
    """The options of every command."""

    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False
    offline: Annotated[bool, typer.Option("--offline", envvar="FLOATBENCH_OFFLINE", help="Never use the network.")] = (
        False
    )
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")] = False


def command(
    app: typer.Typer,
    name: str | None = None,
    other_names: Mapping[str, str] = MappingProxyType({}),
    bare: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Function], Function]:
    """Adds a function to the program, as it is: `command(app)(function)`, or as a decorator.

    Of its parameters `output: Output` is handed over, with --json, --offline and --quiet behind it; one whose type is
    a dataclass stands for the options that are its fields; all others are options and arguments of Typer. The function
    returns the exit code, None for 0.

    Args:
        other_names: other spelling -> option: understood and not shown.
        bare: option -> the value that it has where none is written behind it.
    """
    kind = type("Command", (Command,), {"other_names": other_names, "bare": bare})

    def add(function: Function) -> Function:
        app.command(name or function.__name__.strip("_"), cls=kind)(_expanded(function))
        return function

    return add


class Command(TyperCommand):
    """A command whose options are named alike on the command line, in the environment and in a run file.

    Typer names them after the function's parameter, which may not be called `format`, `from` or `all`; the parameter's
    name stays as an alias.

    Attributes:
        aliases: the old name of each option that was renamed.
        other_names, bare: see `command`.
    """

    other_names: Mapping[str, str] = MappingProxyType({})
    bare: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aliases: dict[str, str] = {}
        for option in self.params:
            if not isinstance(option, TyperOption):
                _offer(option, option.name)
                continue
            if (name := option_name(option)) != option.name:
                self.aliases[name] = option.name
                option.name = name
            if option.multiple:
                option.value_from_envvar = partial(_lines_of_envvar, option)
            option.show_envvar = False  # the rule is said once, under the options
            option.rich_help_panel = option.rich_help_panel or option_panel(name, bool(option.secondary_opts))
            _offer(option, name)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """As Typer does, with types in one word and the examples of this command below."""
        for option in self.params:
            if isinstance(option, TyperOption) and option.metavar is None:
                option.metavar = value_word(option.display_type(ctx) or "")
        self.epilog = epilogue(ctx.command_path.partition(" ")[2])
        super().format_help(ctx, formatter)

    def get_help_option(self, ctx: typer.Context) -> Any:
        """`--help`, shown with what every command has."""
        option = super().get_help_option(ctx)
        if isinstance(option, TyperOption):
            option.show_envvar, option.rich_help_panel = False, option_panel("help")
        return option

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Reads the command line; an error in it is already told as --json asks."""
        args = [self._spelled(argument, after) for argument, after in zip(args, [*args[1:], "--"], strict=False)]
        for option in self.params:
            if option.name in self.aliases:
                _read_alias(option, self.aliases[option.name], ctx.auto_envvar_prefix)
        if isinstance(ctx.obj, Output):
            ctx.obj.json = self._wants_json(ctx, args)
        return super().parse_args(ctx, args)

    def _spelled(self, argument: str, after: str) -> str:
        """An argument as its option is spelled, with a value where the one behind it is none."""
        name, mark, value = argument.partition("=")
        name = self.other_names.get(name, name)
        if name in self.bare and not mark and after.startswith("-"):
            return f"{name}={self.bare[name]}"
        return f"{name}{mark}{value}" if name.startswith("--") else argument

    def _wants_json(self, ctx: typer.Context, args: Sequence[str]) -> bool:
        (option,) = (option for option in self.params if option.name == "json")
        lenient, ctx.resilient_parsing = ctx.resilient_parsing, True
        try:
            parser = self.make_parser(ctx)
            parser.ignore_unknown_options = True  # one of them may be the error
            given, _, _ = parser.parse_args(args=list(args))
        finally:
            ctx.resilient_parsing = lenient
        value, _ = option.consume_value(ctx, given)
        return str(value).lower() in ("1", "true", "t", "yes", "y", "on")

    def invoke(self, ctx: typer.Context) -> Any:
        """Calls the function by the names that its parameters have."""
        values = {self.aliases.get(name, name): value for name, value in ctx.params.items()}
        return None if self.callback is None else ctx.invoke(self.callback, **values)


class Program(TyperGroup):
    """The program itself: its commands stand in groups, in the order in which somebody meets them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of `COMMAND_PANELS`; each command is told its group."""
        order = [name for names in COMMAND_PANELS.values() for name in names]
        for name, found in self.commands.items():
            found.rich_help_panel = command_panel(name)  # type: ignore[attr-defined] - Typer's commands have it
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """As Typer does, with examples below."""
        for option in self.get_params(ctx):
            if isinstance(option, TyperOption):
                option.show_envvar = False
        self.epilog = epilogue("")
        super().format_help(ctx, formatter)


def _offer(parameter: Any, name: str | None) -> None:
    """Lets the shell complete the values of an option or argument whose names are known."""
    if name and is_offered(name):
        parameter._custom_shell_complete = values  # where Typer keeps what `autocompletion=` was given


def option_name(option: TyperOption) -> str:
    """An option's name in the environment and in run files: `skip_unavailable` of `--skip-unavailable`."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def _lines_of_envvar(option: TyperOption, ctx: Any) -> list[str] | None:
    """A repeatable option out of the environment: a value in each line, since values may hold blanks."""
    text = option.resolve_envvar_value(ctx)
    return None if text is None else text.splitlines()


def _read_alias(option: Any, alias: str, prefix: str | None) -> None:
    """Lets an environment variable with the old name be read where the one with the new name is not set."""
    names = [f"{prefix}_{name.upper()}" for name in (option.name, alias)]
    if os.environ.get(names[1]):
        option.envvar = names


def _expanded(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function as Typer has to see it: one parameter for each option."""
    given = {name: hint.annotation for name, hint in inspect.signature(function, eval_str=True).parameters.items()}
    groups = {name: kind for name, kind in given.items() if is_dataclass(kind)}
    outputs = [name for name, kind in given.items() if kind is Output]
    contexts = [name for name, kind in given.items() if kind is typer.Context]

    def run(**values: Any) -> int | None:
        context = values[contexts[0]] if contexts else values.pop("context")
        output = context.obj if isinstance(context.obj, Output) else Output()
        shared = _gather(_Shared, values)
        output.json, output.offline, output.quiet = shared.json_output, shared.offline, shared.quiet
        values |= {name: _gather(kind, values) for name, kind in groups.items()}
        with _offline(output.offline):
            return function(**values, **dict.fromkeys(outputs, output))

    parameters = [] if contexts else [inspect.Parameter("context", _KEYWORD, annotation=typer.Context)]
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        elif name not in outputs:
            parameters.append(parameter.replace(kind=_KEYWORD))
    parameters += _options(_Shared)
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] - what inspect looks for
    return run


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            _KEYWORD,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def _gather(group: Any, values: dict[str, Any]) -> Any:
    """Takes the options of a group out of `values`."""
    return group(**{field.name: values.pop(field.name) for field in fields(group)})


@contextmanager
def _offline(switch: bool) -> Iterator[None]:
    """Forbids the network to this process and those it starts, as long as the command runs."""
    names = ("FLOATBENCH_OFFLINE", "HF_HUB_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    if switch:
        os.environ["FLOATBENCH_OFFLINE"] = "1"
        quiet_third_parties()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


StripSuffixes = Annotated[
    list[str] | None,
    typer.Option(
        "--strip-suffix",
        help="What stands behind a clip's name in the name of a finished video, such as _gen; repeatable.",
    ),
]


def allow_fabricated(allowed: bool) -> None:
    """Lets this process and its workers use fabricated weights; scores made with them are marked."""
    if allowed:
        os.environ["FLOATBENCH_FABRICATED"] = "1"
