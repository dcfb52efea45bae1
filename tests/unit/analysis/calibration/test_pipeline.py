"""The committed calibration: its rows are the code's, and what reports print passes."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.calibration import pipeline
from analysis.calibration.pipeline import FILE, GROUPS, outside, text
from analysis.calibration.printed import ESTIMATORS, KINDS, UNPRINTED, uncalibrated
from analysis.calibration.scenario import Scenario, simulate
from analysis.calibration.worlds import World

ROOT = Path(__file__).parents[4]
COMMITTED = ROOT / "outputs" / "reference" / "calibration" / FILE
FOUND = json.loads(COMMITTED.read_text())
ROWS = {row["what"]: row for row in FOUND["rows"]}
SCENARIOS = [(group, scenario) for group, made in GROUPS.items() for scenario in made()]


def test_the_committed_rows_are_those_of_the_code() -> None:
    assert [row["what"] for row in FOUND["rows"]] == [scenario.what for _, scenario in SCENARIOS]
    assert len(ROWS) == len(FOUND["rows"])  # a name seeds its random numbers
    for group, made in SCENARIOS:
        row = ROWS[made.what]
        assert row["group"] == group and row["settings"] == json.loads(json.dumps(dict(made.settings)))
        assert (row["kind"], row["asks"], row["role"], row["said"]) == (
            made.kind,
            made.asks,
            made.role,
            made.said,
        )
        assert row["bounds"] == list(made.within) and row["studies"] == round(FOUND["studies"] * made.effort)
    assert FOUND["world"] == json.loads(json.dumps(vars(World()))) and FOUND["studies"] >= 4000


def test_every_kind_that_reports_print_passes() -> None:
    assert outside(FOUND) == [] and uncalibrated(FOUND["rows"]) == []
    assert {made.kind for _, made in SCENARIOS if made.role == "printed"} == set(KINDS)
    worse = [row | {"passes": row["passes"] and row["kind"] != "Fieller"} for row in FOUND["rows"]]
    assert uncalibrated(worse) == ["Fieller"]
    assert uncalibrated([row for row in FOUND["rows"] if row["kind"] != "Holm"]) == ["Holm"]


def test_assumptions_and_what_is_not_printed_say_so() -> None:
    for row in FOUND["rows"]:
        assert bool(row["said"]) == (row["role"] != "printed"), row["what"]
    pooled = [row for row in FOUND["rows"] if row["what"].startswith("rate pooled")]
    worse = [row["measured"] for row in pooled if row["settings"]["gap"] == 0.015]
    assert len(pooled) == 8 and max(worse) < 0.9 and {row["role"] for row in pooled} == {"limit"}
    readme = (ROOT / "analysis" / "README.md").read_text()
    for phrase in ("near normal", "unbounded, and said so"):
        assert phrase in readme


@pytest.mark.parametrize(
    "part", ["gain, 4 seeds, t4", "within 3 points, unpaired", "median of 6, 6 seeds, skew"]
)
def test_a_committed_row_is_measured_again_to_the_digit(part: str) -> None:
    (made,) = (scenario for _, scenario in SCENARIOS if part in scenario.what)
    again = simulate(made, studies=FOUND["studies"], seed=FOUND["seed"])
    assert again["measured"] == ROWS[made.what]["measured"]


def test_the_page_is_generated() -> None:
    assert COMMITTED.with_suffix(".md").read_text() == text(FOUND)


def functions(folder: Path) -> Iterator[tuple[str, str]]:
    """`module.function` of every public function with what it returns."""
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns:
                yield f"{path.stem}.{node.name}", ast.unparse(node.returns)


GIVES = ("Interval", "Crossing", "Equivalence", "FamilyEffect", "Largest", "Verdict", "Judged", "Estimate")
P_VALUES = ("holm", "tost_p", "tost_share", "margin_p", "margin_p_unpaired", "base_p", "power", "student_p")


def test_every_estimator_of_an_interval_or_a_p_has_a_kind() -> None:
    """A new one fails here until it has rows of its own, or a reason why no report prints it."""
    known = ESTIMATORS | UNPRINTED
    listed = dict(functions(ROOT / "analysis" / "stats"))
    for name, returns in listed.items():
        gives = any(word in returns for word in GIVES) or name.partition(".")[2] in P_VALUES
        assert not gives or name in known, f"{name} -> {returns}: give it a kind and rows"
    assert not set(known) - set(listed) and not set(ESTIMATORS) & set(UNPRINTED)
    assert set(ESTIMATORS.values()) <= set(KINDS)


def test_every_method_of_an_interval_is_a_kind() -> None:
    """The names that intervals carry into tables, as written where they are made."""
    methods = set()
    for path in (ROOT / "analysis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.keyword)
                and node.arg == "method"
                and isinstance(node.value, ast.Constant)
            ):
                methods.add(node.value.value)
            place = {"_student": 5, "_bare": 3}.get(getattr(getattr(node, "func", None), "id", ""))
            if place is not None and isinstance(node, ast.Call):
                methods |= {a.value for a in node.args[place : place + 1] if isinstance(a, ast.Constant)}
    from analysis.stats import crossed, families, ratio

    methods |= {crossed.METHOD, families.METHOD, ratio.FIELLER}
    assert methods <= set(KINDS), methods


def test_the_command_writes_rows_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenarios(chance: float) -> Iterator[Scenario]:
        yield Scenario("sound", "paired t", "coverage", lambda rng: [bool(rng.random() < 0.95)])
        yield Scenario("narrow", "Holm", "error", lambda rng: [bool(rng.random() < chance)])

    out = tmp_path / "pipeline.json"
    asked = ["calibrate", "--pipeline", "--studies", "2000", "--seed", "3", "--out", str(out)]
    for chance, code in ((0.02, 0), (0.2, 1)):
        monkeypatch.setattr(pipeline, "GROUPS", {"Some": lambda chance=chance: scenarios(chance)})
        assert main(asked) == code
        found = json.loads(out.read_text())
        assert [row["passes"] for row in found["rows"]] == [True, code == 0]
        assert (found["seed"], found["studies"]) == (3, 2000) and {"commit", "dirty", "world"} <= set(found)
        page = out.with_suffix(".md").read_text()
        assert "### Some" in page and f"{2 - code} of 2 rows that reports print pass" in page
    said = capsys.readouterr()
    assert "outside its bounds: narrow" in said.err and "2 rows" in said.out


@pytest.mark.parametrize("given", [[], ["somewhere", "--pipeline"]])
def test_a_study_or_the_pipeline_is_calibrated(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *given]) == 2
    assert "give STUDY_FOLDER, an A/A study, or --pipeline" in capsys.readouterr().err
