"""The rooms import one way, read from the source: also what is imported inside functions or for types."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure import (
    ROOT,
    circles,
    floors,
    import_graph,
    imported_names,
    modules,
    obscure_docstrings,
    room_graph,
    room_of,
)

# From the top down: a room imports from floors below its own alone, and rooms of one floor never each other.
HARNESS_FLOORS = (
    ("harness.__main__",),
    ("harness.launch",),
    ("harness.evaluation", "harness.reward_models", "harness.bases"),
    ("harness.training",),
    ("harness.rollout", "harness.identity"),
    ("harness.model",),
    ("harness.data",),
    ("harness.schema",),
    ("harness.grading", "harness.objectives"),
    ("harness.records", "harness.seeds", "harness.types"),
)
ANALYSIS_FLOORS = (
    ("analysis.__main__", "analysis.api"),
    ("analysis.report",),
    ("analysis.figures", "analysis.calibration"),
    ("analysis.tables",),
    ("analysis.study",),
    ("analysis.stats",),
)
FILES = modules(ROOT)
GRAPH = import_graph(FILES)
ROOMS = room_graph(GRAPH)
HEAVY = {"torch", "transformers", "lm_eval", "wandb", "altair", "vllm"}
# What composing a config, planning a sweep and reading its state needs: no import there may take seconds.
LIGHT = ("harness.launch", "harness.schema", "harness.records", "harness.identity", "harness.seeds")
# A run's own process.
TRAINS = ("harness.launch.execute", "harness.launch.bookkeeping", "harness.launch.tracking")


def packages(path: Path, *, top: bool = False) -> set[str]:
    return {name.split(".")[0] for name in imported_names(path, top=top)}


@pytest.mark.parametrize("order", [HARNESS_FLOORS, ANALYSIS_FLOORS], ids=["harness", "analysis"])
def test_rooms_import_from_floors_below_alone(order: tuple[tuple[str, ...], ...]) -> None:
    place = {room: floor for floor, rooms in enumerate(order) for room in rooms}
    backwards = [
        f"{name} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if room_of(name) in place and room_of(target) in place and room_of(name) != room_of(target)
        if place[room_of(target)] <= place[room_of(name)]
    ]
    assert backwards == []


def test_every_room_has_its_floor() -> None:
    known = {room for rooms in (*HARNESS_FLOORS, *ANALYSIS_FLOORS) for room in rooms} | {"tasks"}
    assert known == set(ROOMS)


def test_the_house_keeps_its_size() -> None:
    folders = [room for room in ROOMS if not (ROOT / (room.replace(".", "/") + ".py")).exists()]
    assert len(folders) <= 20
    assert max(floors(ROOMS).values()) <= 10


def test_nothing_imports_in_a_circle() -> None:
    assert circles(ROOMS) == []
    assert circles(GRAPH) == []


def test_a_circle_and_an_obscure_docstring_are_found(tmp_path: Path) -> None:
    """The measures themselves, on a package that has what the others must not have."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "a.py").write_text('"""Of a kind."""\nfrom pack import b\n')
    (tmp_path / "pack" / "b.py").write_text("def f() -> None:\n    from pack.a import x\n")
    files = modules(tmp_path, ["pack"])
    graph = import_graph(files)
    assert circles(graph) == [["pack.a", "pack.b"]]
    assert floors(graph) == {"pack.a": 1, "pack.b": 1}
    assert len(obscure_docstrings(files["pack.a"])) == 1
    assert obscure_docstrings(files["pack.b"]) == []


def test_objectives_are_pure() -> None:
    """Tensors in, tensors out: no config, no logging, no model."""
    for name, path in FILES.items():
        if room_of(name) == "harness.objectives":
            ours = {n for n in imported_names(path) if n.startswith("harness.")}
            assert all(n.startswith(("harness.objectives", "harness.types")) for n in ours), name


def test_analysis_reads_records_alone_and_stays_light() -> None:
    for name, path in FILES.items():
        if not name.startswith("analysis."):
            continue
        # W&B is a source and a destination of studies in one file, and there only where it is called for.
        found = packages(path, top=name == "analysis.report.tracked")
        assert found & {"torch", "vllm", "wandb", "transformers", "lm_eval", "tasks"} == set(), name
        ours = {n for n in imported_names(path) if n.startswith("harness.")}
        assert all(n.startswith("harness.records") for n in ours), name


def test_tasks_stand_beside_the_harness_not_above_it() -> None:
    """They score and load problems through it, with the one grader, and know nothing of runs."""
    for name in (name for name in FILES if room_of(name) == "tasks"):
        ours = {room_of(target) for target in GRAPH[name] if target.startswith("harness.")}
        assert ours <= {"harness.data", "harness.grading", "harness.schema", "harness.types"}, name
        assert packages(FILES[name]) & HEAVY == set(), name


def test_harness_uses_the_estimators_of_analysis_alone() -> None:
    """`analysis.stats` is pure, and imports none of ours."""
    assert ROOMS["analysis.stats"] == set()
    used = {
        target for name, targets in GRAPH.items() if not name.startswith("analysis.") for target in targets
    }
    assert {room_of(t) for t in used if t.startswith("analysis.")} == {"analysis.stats"}


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith(LIGHT) and n not in TRAINS])
def test_what_plans_and_reads_imports_nothing_heavy_at_the_top(name: str) -> None:
    assert packages(FILES[name], top=True) & HEAVY == set()


def test_package_files_are_empty() -> None:
    """One names what `from analysis import ...` finds, and imports it when it is asked for."""
    for package in ("harness", "analysis", "tasks"):
        for path in (ROOT / package).rglob("__init__.py"):
            if path != ROOT / "analysis" / "__init__.py":
                assert path.read_text() == "", path
    assert packages(ROOT / "analysis" / "__init__.py", top=True) == {"__future__", "typing"}


def test_tests_mirror_the_tree() -> None:
    """A room's tests stand in a folder of its name; `test_x.py` beside others of its subject."""
    rooms = {room.replace(".", "/") for room in ROOMS}
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        place = path.relative_to(ROOT / "tests" / "unit").parent.as_posix()
        if place in (".", "benchmarks", "harness", "analysis"):
            continue
        assert "/".join(place.split("/")[:2]) in rooms, path
        assert (ROOT / place).is_dir(), path


def test_docstrings_stand_without_the_code() -> None:
    """No first line begins as the end of a sentence that only the code completes (`Of`, `Those`, ...)."""
    paths = [*FILES.values(), *sorted((ROOT / "tests").rglob("*.py"))]
    assert [line for path in paths for line in obscure_docstrings(path)] == []


def test_no_file_is_packed_to_fit() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    for path in [*FILES.values(), *tests]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not any(line.rstrip().endswith("# fmt:" + " skip") for line in lines), path
