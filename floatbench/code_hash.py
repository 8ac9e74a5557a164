"""Which code decides a result: the definitions that a class names, directly or through others, and the libraries.

A definition counts with its source without comments, docstrings and blank lines, so that a better sentence changes
nothing and another constant changes everything. Nothing is imported or run: modules are read.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version

NEUTRAL = ("floatbench.assets", "floatbench.errors", "floatbench.files", "floatbench.metrics.base", "floatbench.paths",
           "floatbench.text", "floatbench.weights")  # fmt: skip
"""Modules that decide no result: contracts, messages, and files that are held to a hash of their own."""
OTHER_NAMES = {
    "cv2": ("opencv-contrib-python", "opencv-contrib-python-headless", "opencv-python", "opencv-python-headless"),
    "PIL": ("pillow",),
    "pytorch_fid": ("pytorch-fid",),
    "skimage": ("scikit-image",),
}
"""Import name -> distributions, where the names differ."""
EVERYTHING = "*"


@dataclass(frozen=True)
class Code:
    """What a result was computed with.

    Attributes:
        sources: module -> SHA-256 over the definitions of it that were used.
        libraries: distribution -> version.
    """

    sources: dict[str, str]
    libraries: dict[str, str]


@dataclass
class _Module:
    """A parsed module: what each top-level name is bound to, and what runs whenever it is imported."""

    name: str
    text: str
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    always: list[ast.stmt] = field(default_factory=list)


def code_of(what: type | str) -> Code:
    """The code behind a class, or behind all of a module that is given by name."""
    start = (what, EVERYTHING) if isinstance(what, str) else (what.__module__, what.__qualname__.partition(".")[0])
    return _code_of(*start, "" if isinstance(what, str) else _own_source(what))


@cache
def _code_of(module: str, name: str, own: str) -> Code:
    package = module.partition(".")[0]
    waiting, seen, libraries = [(module, name)], set[tuple[str, str]](), set[str]()
    used: dict[str, set[str]] = {}
    while waiting:
        where, definition = waiting.pop()
        if (where, definition) in seen or where.startswith(NEUTRAL):
            continue
        seen.add((where, definition))
        found = _module(where)
        if found is None:  # typed into a session or built at run time: its own text is all there is
            used.setdefault(where, set()).add(own if where == module else "")
            continue
        nodes = list(found.always)
        nodes += [n for key in found.bindings if definition in (key, EVERYTHING) for n in found.bindings[key]]
        for node in nodes:
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                used.setdefault(where, set()).add(_plain(found.text, node))
            for target in _named(found, node, package):
                if isinstance(target, str):
                    libraries.add(target)
                else:
                    waiting.append(target)
    sources = {m: hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest() for m, texts in sorted(used.items())}
    return Code(sources, _versions(libraries))


def _own_source(what: type) -> str:
    try:
        return inspect.getsource(what)
    except (OSError, TypeError):
        return ""


@cache
def _module(name: str) -> _Module | None:
    text = _text(name)
    if text is None:
        return None
    module = _Module(name, text)
    for node in _flat(ast.parse(text).body):
        names = _bound(node)
        if names:
            for bound in names:
                module.bindings.setdefault(bound, []).append(node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            module.always.append(node)
    return module


def _text(name: str) -> str | None:
    try:
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec else None
    if not origin or not origin.endswith(".py"):
        return None
    try:
        with tokenize.open(origin) as stream:
            return stream.read()
    except (OSError, SyntaxError):
        return None


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements; those inside `try` and `if` on the same level, `if TYPE_CHECKING` left out."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Try) and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in node.body):
            yield from node.body
        else:
            yield node


def _bound(node: ast.stmt) -> list[str]:
    """The module-level names that a statement binds; none for a statement that only does something."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [n for target in targets for n in ast.walk(target)]
    if any(isinstance(n, (ast.Attribute, ast.Subscript)) for n in names):
        return []
    return [n.id for n in names if isinstance(n, ast.Name)]


def _named(module: _Module, node: ast.stmt, package: str) -> Iterator[tuple[str, str] | str]:
    """What a statement names: (module, definition) of our own or the plugin's code, or the import name of a library."""
    attributes = {id(n.value): n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    inner = [n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom))]
    local: dict[str, list[ast.stmt]] = {}
    for statement in inner:
        for bound in _bound(statement):
            local.setdefault(bound, []).append(statement)
    for name in (n for n in ast.walk(node) if isinstance(n, ast.Name)):
        for binding in local.get(name.id) or module.bindings.get(name.id, []):
            if isinstance(binding, (ast.Import, ast.ImportFrom)):
                yield from _imported(binding, name.id, attributes.get(id(name)), package)
            elif binding is not node:
                yield module.name, name.id


def _imported(
    node: ast.Import | ast.ImportFrom, name: str, attribute: str | None, package: str
) -> Iterator[tuple[str, str] | str]:
    """Where an imported name leads; `attribute` is what is asked of it, when that is said."""
    for alias in node.names:
        if (alias.asname or alias.name.partition(".")[0]) != name:
            continue
        base = alias.name if isinstance(node, ast.Import) else node.module or ""
        top = base.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top not in ("floatbench", package):
            yield top
        elif isinstance(node, ast.Import) or _text(f"{base}.{alias.name}") is not None:
            whole = base if isinstance(node, ast.Import) else f"{base}.{alias.name}"
            yield whole, attribute or EVERYTHING
        else:
            yield base, alias.name


def _plain(text: str, node: ast.stmt) -> str:
    """A statement's source without comments, docstrings, blank lines and space at line ends."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    for inner in ast.walk(node):
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str):
            for number in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1):
                lines[number - first] = "" if number > inner.lineno else " " * inner.col_offset + "..."
    source = "\n".join(lines) + "\n"
    kept = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            kept[row - 1] = kept[row - 1][:column]
    return "\n".join(line.rstrip() for line in kept if line.strip())


@cache
def _distributions(name: str) -> tuple[str, ...]:
    """The distributions that an import name may come from; asking all that are installed takes seconds."""
    known = OTHER_NAMES.get(name, (name,))
    if any(_version(distribution) for distribution in known):
        return known
    return tuple(sorted(set(packages_distributions().get(name, ()))))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _versions(imports: set[str]) -> dict[str, str]:
    """Distribution -> version of the libraries that are installed; an absent optional one is left out."""
    names = {distribution for name in imports for distribution in _distributions(name)}
    return {name: found for name in sorted(names) if (found := _version(name))}
