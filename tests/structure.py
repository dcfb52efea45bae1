"""Measure the structure of the code: rooms, floors, import circles, sizes, complexity, docstrings, README.

    python -m tests.structure [--root DIR] [--json FILE]

A room is a folder directly under `harness/` or `analysis/` with all it holds, `tasks/`, or a module that
stands loose at the door of `harness/` or `analysis/`. An arrow is one room importing another, wherever the
import stands: at the top, inside a function, under TYPE_CHECKING. A room's floor is one above the highest
room that it imports. Rooms on a circle share a floor. Nothing is executed: only the source is read.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "analysis", "tasks")
OBSCURE = ("Of ", "Those ", "These ", "The same", "Where ", "Which ", "None ", "None:", "Whose ")

Graph = dict[str, set[str]]


def modules(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """Dotted name -> file, of every module that is not an empty `__init__`."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if path.name != "__init__.py":
                found[".".join(path.relative_to(root).with_suffix("").parts)] = path
    return found


def imported_names(path: Path, *, top: bool = False) -> set[str]:
    """Dotted names that a file imports; with `top` only at module level and outside TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def import_graph(files: Mapping[str, Path]) -> Graph:
    """Module -> the modules of ours that it imports."""
    return {name: (imported_names(path) & files.keys()) - {name} for name, path in files.items()}


def room_of(module: str) -> str:
    """`harness.model.files.hub` -> `harness.model`; a loose module is a room of its own."""
    parts = module.split(".")
    return parts[0] if parts[0] == "tasks" else ".".join(parts[:2])


def room_graph(graph: Graph) -> Graph:
    """Room -> the other rooms that it imports."""
    rooms: Graph = {room_of(name): set() for name in graph}
    for name, targets in graph.items():
        rooms[room_of(name)] |= {room_of(target) for target in targets} - {room_of(name)}
    return rooms


def reachable(graph: Graph) -> Graph:
    """Node -> every node that it imports, straight or through others."""
    found: Graph = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += graph[node]
        found[start] = seen
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that import each other in a loop, each sorted."""
    reach = reachable(graph)
    groups = {
        frozenset({node, *(other for other in reach[node] if node in reach[other])})
        for node in graph
        if node in reach[node]
    }
    return sorted(sorted(group) for group in groups)


def floors(graph: Graph) -> dict[str, int]:
    """Node -> its floor, 1 for one that imports nothing."""
    reach = reachable(graph)
    found: dict[str, int] = {}

    def floor(node: str) -> int:
        circle = {node, *(other for other in reach[node] if node in reach[other])}
        if node not in found:
            below = {target for member in circle for target in graph[member]} - circle
            found.update(dict.fromkeys(circle, 1 + max(map(floor, below), default=0)))
        return found[node]

    return {node: floor(node) for node in graph}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def complexity(function: ast.AST) -> int:
    """Cyclomatic complexity as radon counts it: branches, loops, boolean operators, comprehensions."""
    total = 1
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.Assert):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
    return total


def obscure_docstrings(path: Path) -> list[str]:
    """`name: first line` of each docstring that does not stand without the code it describes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            if first.startswith(OBSCURE):
                found.append(f"{path}:{getattr(node, 'lineno', 1)}: {first}")
    return found


def sizes(files: Mapping[str, Path]) -> dict[str, Any]:
    """Lines of files and functions, their complexity, and what hides them from a formatter."""
    lines, lengths, complex_ones, packed = {}, [], {}, 0
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        lines[name] = text.count("\n")
        packed += text.count("# fmt: skip")
        for function in functions(ast.parse(text)):
            first = min(d.lineno for d in [function, *function.decorator_list])
            lengths.append((function.end_lineno or 0) - first + 1)
            if (score := complexity(function)) > 15:
                complex_ones[f"{name}.{function.name}"] = score
    return {
        "lines": sum(lines.values()),
        "files": len(lines),
        "files over 300 lines": sum(n > 300 for n in lines.values()),
        "functions": len(lengths),
        "functions over 40 lines": sum(n > 40 for n in lengths),
        "functions over 60 lines": sum(n > 60 for n in lengths),
        "functions over complexity 15": dict(sorted(complex_ones.items(), key=lambda item: -item[1])),
        "fmt: skip": packed,
    }


def measure(root: Path = ROOT) -> dict[str, Any]:
    """Everything that the command prints."""
    files = modules(root)
    graph = import_graph(files)
    rooms = room_graph(graph)
    at_door = [name for name in rooms if (root / (name.replace(".", "/") + ".py")).exists()]
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        "rooms that are folders": len(rooms) - len(at_door),
        "loose modules": sorted(at_door),
        "floors": max(floors(rooms).values()),
        "arrows": sum(map(len, rooms.values())),
        "circles of rooms": circles(rooms),
        "circles of modules": circles(graph),
        **sizes(files),
        "test lines": sum(p.read_text("utf-8").count("\n") for p in (root / "tests").rglob("*.py")),
        "obscure docstrings": sum(len(obscure_docstrings(path)) for path in files.values()),
        "README lines": readme.count("\n"),
        "README words": len(readme.split()),
        "README images": readme.count("!["),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--json", type=Path, help="write the measures there")
    options = parser.parse_args()
    found = measure(options.root)
    for name, value in found.items():
        if isinstance(value, list | dict):
            shown = [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else value
            print(f"{name:<30} {len(value)}")
            for item in shown:
                print(f"{'':<30}   {' <-> '.join(item) if isinstance(item, list) else item}")
        else:
            print(f"{name:<30} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
