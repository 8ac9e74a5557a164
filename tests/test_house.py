"""The house rules that a machine can hold: one package, imports that point one way, sizes, documents that are true."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "floatbench"
FLOORS = (
    {"cli", "__main__"},
    {"reports", "training", "animate", "speed", "web", "api", "doctor"},
    {"engine"},
    {"methods", "data"},
    {"protocol", "metrics", "sampling", "synthetic", "baselines"},
    {"model", "media", "weights", "assets"},
)
"""Rooms from the top floor down; everything else of the package lies on the ground floor, below all of them."""
ALLOWED_UP: dict[tuple[str, str], str] = {
    ("methods", "animate"): "FLOAT as a method of the engine is the pipeline of `generate`",
}
"""(room, room above it that it imports from): the reason."""
SAME_NAME = {
    "catalogue": "the names of methods, and of data sets",
    "clip": "a decoded clip (media), a procedural one (synthetic), metrics with a value for each clip (metrics)",
    "config": "of the network (model), of its training (training)",
    "fetch": "data sets, and weights",
    "loading": "of finished runs (reports), of networks (sampling)",
    "manifest": "of prepared clips (media), of a system (baselines)",
    "network": "a backbone (metrics), the transformer as the sampler calls it (sampling)",
    "records": "how any record is read and written, and what those of a run hold (engine)",
    "paths": "folders on disk, and of the flow from noise to motion (sampling)",
    "sound": "of files (media), as conditions (sampling)",
    "table": "of weight files (weights), of scores (reports)",
}
"""Modules of one name in rooms that a reader seldom meets together: how they differ."""
MAX_FUNCTION, MAX_FILE = 60, 450
LONG = {"floatbench.weights.table"}
"""Files that are tables: a row a thing, no idea beside it."""
EXAMPLES = ("baselines/NAME/", "baselines/imtalker/", "results/leaderboard/entries")
"""Paths in documents that a reader will make."""
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def sources() -> dict[str, Path]:
    """Module name -> file, of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def targets(node: ast.AST) -> list[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        full = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in SOURCES else node.module for name in full]
    return []


def type_checking(tree: ast.Module) -> set[int]:
    """The ids of the nodes under `if TYPE_CHECKING:`, which never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {id(inner) for block in blocks for inner in ast.walk(block)}


def imports(name: str, module_level: bool = False) -> set[str]:
    """What a module of ours imports when it runs; with `module_level` only what importing it imports."""
    tree = TREES[name]
    nodes = tree.body if module_level else ast.walk(tree)
    skipped = type_checking(tree)
    return {target for node in nodes if id(node) not in skipped for target in targets(node)} - {name}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def floor(module: str) -> int:
    return next((i for i, rooms in enumerate(FLOORS) if room(module) in rooms), len(FLOORS))


def test_no_module_takes_a_top_level_name_that_other_projects_have():
    taken = {"metrics", "protocols", "baselines", "results", "tests", "benchmarks"}
    wrong = {
        name: bad for name in SOURCES if (bad := {t for t in imports(name) if t.partition(".")[0] in taken})
    }  # fmt: skip
    assert not wrong


def test_imports_point_from_the_top_floor_down():
    wrong = [
        f"{name} -> {target}"
        for name in SOURCES
        if room(name)
        for target in imports(name)
        if target.startswith("floatbench.")
        and floor(target) < floor(name)
        and (room(name), room(target)) not in ALLOWED_UP
    ]
    assert not wrong


def test_every_exception_to_the_order_is_still_needed():
    arrows = {(room(name), room(target)) for name in SOURCES for target in imports(name)}
    assert set(ALLOWED_UP) <= arrows


def test_the_model_knows_only_itself_and_the_ground_floor():
    for name in SOURCES:
        if room(name) == "model":
            seen = {room(target) for target in imports(name) if target.startswith("floatbench")}
            assert not {r for r in seen if r and r != "model" and floor(f"floatbench.{r}") < len(FLOORS)}, name


def test_no_circle_of_imports():
    """Tarjan over the imports that run when a module is imported."""
    graph = {name: [t for t in imports(name, module_level=True) if t in SOURCES] for name in SOURCES}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            circle = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(circle) > 1:
                circles.append(circle)

    for name in SOURCES:
        if name not in index:
            visit(name)
    # a room's face imports the room: floatbench.weights offers the functions of floatbench.weights.store
    assert [c for c in circles if "floatbench.weights" not in c] == []


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring, which may be as long as it has to be."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if told else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_no_function_is_longer_than_a_screen_and_no_file_is_a_drawer():
    long = [
        f"{name}.{node.name}: {lines(node)}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and lines(node) > MAX_FUNCTION
    ]
    big = [
        name
        for name, path in SOURCES.items()
        if name not in LONG and len(path.read_text(encoding="utf-8").splitlines()) > MAX_FILE
    ]
    assert not long and not big


def test_no_two_classes_share_a_name():
    places: dict[str, set[str]] = defaultdict(set)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_two_modules_share_a_name():
    """A command's file is named after what it serves; other pairs stand in `SAME_NAME` with what tells them apart."""
    places: dict[str, set[str]] = defaultdict(set)
    for name in SOURCES:
        if room(name) != "cli" and SOURCES[name].name != "__init__.py":
            places[name.rpartition(".")[2]].add(name)
    assert {name for name, where in places.items() if len(where) > 1} == set(SAME_NAME)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_files_that_exist(document: Path):
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    linked = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    named = re.findall(r"`((?:floatbench|tests|docs|benchmarks|baselines|protocols|results)/[\w./-]+)`", text)
    missing = [name for name in linked if not (document.parent / name).exists()]
    missing += [name for name in named if not (ROOT / name).exists() and not name.startswith(EXAMPLES)]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_in_documents_are_whole(document: Path):
    """A blank line within a table, or a pipe within a cell, turns the rest of it into text."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    for table in re.findall(r"(?:^\|.*\n?)+", text, flags=re.M):
        rows = table.strip().splitlines()
        cells = [len(re.findall(r"(?<!\\)\|", row.rstrip())) for row in rows]
        assert len(rows) > 1 and re.fullmatch(r"\|[\s:|-]+\|", rows[1].strip()), rows[0]
        assert set(cells) == {cells[0]}, rows[cells.index(next(n for n in cells if n != cells[0]))]


def test_modules_named_in_documents_exist():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for name in re.findall(r"(?:from|import) (floatbench(?:\.\w+)+)", text):
            assert name in SOURCES, f"{document.name}: {name}"


def test_the_link_at_the_top_shows_the_metrics():
    link = ROOT / "metrics"
    assert not link.exists() or link.resolve() == (PACKAGE / "metrics").resolve()


def test_the_host_speaks_the_version_of_the_driver_library():
    """The two sides share no import, since one of them runs under foreign interpreters."""
    from floatbench.baselines import manifest, worker

    theirs = dict(re.findall(r"^(PROTO|MAX_LINE) = ([\d_]+)", manifest.driverlib().read_text(), flags=re.M))
    assert {name: int(value) for name, value in theirs.items()} == {"PROTO": worker.PROTO, "MAX_LINE": worker.MAX_LINE}
