"""The packages import one way, read from the source: what a module imports, also inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each stands above those it may import from; a module that is not named stands below them all.
ORDER = [
    "run",
    "launch.pilot",
    "sweep",
    "launch.study",
    "launch.plan",
    "launch.launcher",
    "launch.workers",
    "execute",
    "trainer",
]
# Rooms of the harness; each imports from none that stands above it. Those in one line share a floor.
FLOORS = [
    ("launch",),
    ("evaluation",),
    ("learning", "reward_models"),
    ("rollout",),
    ("network",),
    ("data", "schema"),
    ("maths", "objectives"),
]
LEAVES = ("types", "records", "seeds")


def imports(path: Path, *, top: bool = False) -> set[str]:
    """Dotted names that a file imports; `top`: at module level alone, type checking apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module(name: str) -> Path:
    return ROOT / "harness" / f"{name.replace('.', '/')}.py"


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("low", range(1, len(ORDER)))
def test_harness_imports_downwards(low: int) -> None:
    above = {f"harness.{name}" for name in ORDER[:low]}
    assert imports(module(ORDER[low])) & above == set()


def test_nothing_below_the_trainer_imports_what_stands_above_it() -> None:
    above = {f"harness.{name}" for name in ORDER}
    chain = {module(name) for name in [*ORDER, "__main__"]}
    for path in files("harness"):
        if path not in chain:
            assert imports(path) & above == set(), path


@pytest.mark.parametrize("floor", range(1, len(FLOORS)))
def test_rooms_import_downwards(floor: int) -> None:
    above = tuple(f"harness.{room}" for rooms in FLOORS[:floor] for room in rooms)
    for room in FLOORS[floor]:
        found = set().union(*(imports(path) for path in files(f"harness/{room}")))
        assert not [name for name in found if name.startswith(above)], room


def test_leaves_import_no_module_of_ours() -> None:
    for name in LEAVES:
        found = {n for n in imports(module(name)) if n.split(".")[0] in ("harness", "analysis", "tasks")}
        assert found == set(), name


def test_types_come_from_types_alone() -> None:
    """Objectives are pure: tensors in, tensors out."""
    for path in files("harness/objectives"):
        allowed = ("harness.objectives", "harness.types", "harness.config")
        ours = {n for n in imports(path) if n.startswith("harness.")}
        assert all(n.startswith(allowed) for n in ours), path


def test_analysis_reads_records_alone_and_stays_light() -> None:
    for path in files("analysis"):
        # W&B is a source and a destination of studies in one file, and there only where it is called for.
        found = imports(path, top=path.name == "tracked.py")
        assert roots(found) & {"torch", "vllm", "wandb", "transformers", "lm_eval", "tasks"} == set(), path
        ours = {n for n in found if n.startswith("harness.")}
        assert all(n.startswith("harness.records") for n in ours), path


def test_tasks_stand_beside_the_harness_not_above_it() -> None:
    """They score and load problems through it, with the one grader, and know nothing of runs."""
    allowed = ("data", "grading", "prompts", "scoring", "types")
    for path in files("tasks"):
        ours = {n.split(".")[1] for n in imports(path) if n.startswith("harness.")}
        assert ours <= set(allowed), path
        assert roots(imports(path)) & {"torch", "transformers", "vllm", "wandb"} == set(), path
    assert "harness.grading" in imports(ROOT / "harness" / "scoring.py")


def test_the_estimators_are_a_leaf_and_the_only_analysis_that_harness_uses() -> None:
    pure = {"analysis.stats"}
    waiting = [ROOT / "analysis" / "stats.py"]
    while waiting:
        for name in imports(waiting.pop()):
            path = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("harness"):
                raise AssertionError(f"analysis.stats reaches {name}")
            if name.startswith("analysis.") and path.exists() and name not in pure:
                pure.add(name)
                waiting.append(path)
    for path in [*files("harness"), *files("tasks")]:
        ours = {
            n
            for n in imports(path)
            if n.startswith("analysis.") and (ROOT / (n.replace(".", "/") + ".py")).exists()
        }
        assert ours <= pure, path


LIGHT = [
    "run",
    "sweep",
    "launch.study",
    "launch.plan",
    "launch.launcher",
    "launch.workers",
    "launch.compose",
    "config",
    "identity",
    "records",
    "seeds",
    "launch.status",
]


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_import_nothing_heavy_at_the_top(name: str) -> None:
    heavy = {"torch", "transformers", "lm_eval", "wandb", "matplotlib", "vllm"}
    assert roots(imports(module(name), top=True)) & heavy == set()


def test_package_files_are_empty() -> None:
    for package in ("harness", "analysis", "tasks"):
        for path in (ROOT / package).rglob("__init__.py"):
            assert path.read_text() == "", path
