"""A study that added seeds by a rule: which looks its numbers allow for, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm
from scipy.stats import t as student

from analysis.__main__ import main
from analysis.report.build import build_report
from analysis.report.reference import reference_files
from analysis.stats.sequential import Looks as Rule
from analysis.stats.sequential import schedule
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.gains import gains
from analysis.study.load import Study, load_study
from analysis.study.look import look_at
from analysis.study.verdicts import contrast_verdicts
from harness.records import records
from harness.records.declarations import FILE as DECLARATION
from harness.records.declarations import Declaration
from harness.records.looks import FILE, Look, Looks, SeedRule
from tests.unit.analysis.study.test_declaration import entry

SIX = 6  # seeds of each study here
RULE = SeedRule(half_width=None, first=4, step=2, max_seeds=20, seeds=list(range(20)))


def write(
    folder: Path, rule: SeedRule | None = RULE, counts: tuple[int, ...] | None = (4, 6), **declared: Any
) -> Path:
    """Declare a rule and, unless None, record looks at `counts` seeds."""
    plan = records.read_study(folder)
    if rule is not None:
        declared["until"] = rule.model_dump()
    plan = plan.model_copy(update={"declared": declared, "primary": {"factor": "objective"}})
    records.write_record(folder / "study.json", plan)
    if counts is not None and rule is not None:
        made = [Look(num_seeds=n, contrasts=[], done=False, reason="undecided") for n in counts]
        records.write_record(folder / FILE, Looks(rule=rule, looks=made))
    return folder


@pytest.fixture
def made(make_study: Callable[..., Path]) -> Path:
    return make_study(seeds=SIX, models=("xs",))


def difference(study: Study) -> tuple[float, float, float]:
    """Ends and p of GRPO − SFT, as the arms table has them."""
    found = next(r.difference for r in arm_results(study, primary_of(study)) if r.difference is not None)
    assert found.low is not None and found.high is not None and found.p_value is not None
    return found.low, found.high, found.p_value


def test_every_number_of_a_contrast_allows_for_the_looks_alike(made: Path) -> None:
    plain = load_study(write(made, rule=None))
    before = difference(plain)
    study = load_study(write(made))
    rule = Rule(schedule(4, 2, 20), (4, 6))
    assert study.looks == rule
    low, high, p = difference(study)
    assert high - low > 1.5 * (before[1] - before[0]) and p == pytest.approx(rule.p_value(before[2], SIX))
    primary = primary_of(study)
    (verdict,) = contrast_verdicts(study, primary, arm_results(study, primary))
    d = verdict.primary.evidence.difference
    assert (d.low, d.high, d.p_value) == (low, high, p)
    pair = [gains(s, primary, ["grpo"])[0].interval for s in (plain, study)]
    assert pair[0] is not None and pair[1] == rule.adjusted(pair[0])
    crossed = [next(r.crossed for r in arm_results(s, primary) if r.crossed) for s in (plain, study)]
    assert crossed[1].width > 1.2 * crossed[0].width and crossed[1].level == 0.95


def test_without_a_record_every_planned_look_counts(made: Path) -> None:
    study = load_study(write(made, counts=None))
    assert study.looks == Rule(schedule(4, 2, 20), schedule(4, 2, 20))
    assert any("had run (no look yet)" in line for line in build_report(study, figures=False).answers)


def test_a_damaged_record_is_said_and_nothing_else_breaks(made: Path) -> None:
    write(made)
    (made / FILE).write_text("{")
    study = load_study(made)
    report = build_report(study, figures=False)
    assert study.looks is None and any(
        "looks.json" in note and "not adjusted" in note for note in report.notes
    )
    assert any("Seeds were added by a rule that cannot be read" in line for line in report.answers)
    with pytest.raises(ValueError, match="looks\\.json"):
        look_at(study)


def test_the_report_and_its_committed_version_say_how_seeds_were_added(made: Path) -> None:
    rule = RULE.model_copy(update={"half_width": 0.5})
    report = build_report(load_study(write(made, rule)), figures=False)
    said = (
        "Seeds were added until the half width of the primary contrast was at most 0.5 points, or 20 seeds "
    )
    said += "had run (2 looks, at 4, 6 seeds); it goes on. Intervals on differences, and their p-values, are "
    assert said + "adjusted for the looks." in report.answers
    files = reference_files(report)
    assert json.loads(files[FILE])["looks"][1]["num_seeds"] == 6
    assert "adjusted for the looks" in files["report.md"].decode()


def test_seeds_by_hand_after_runs_had_finished_are_named(made: Path) -> None:
    write(made, rule=None)
    entries = [entry(seeds=[0, 1, 2]), entry(6, 6, seeds=[0, 1, 2, 3, 4, 5])]
    records.write_record(made / DECLARATION, Declaration(entries=entries))
    (note,) = [n for n in build_report(load_study(made), figures=False).notes if "by hand" in n]
    assert note.startswith("seeds 3, 4, 5 were added by hand after 6 runs had finished, by no declared rule")
    # Declared before a run had finished, they are part of the plan.
    entries = [entry(seeds=[0, 1, 2]), entry(1, 0, seeds=[0, 1, 2, 3, 4, 5])]
    records.write_record(made / DECLARATION, Declaration(entries=entries))
    assert not [n for n in build_report(load_study(made), figures=False).notes if "by hand" in n]


def test_a_look_stops_by_width_at_the_widest_contrast(made: Path) -> None:
    wide = look_at(load_study(write(made, RULE.model_copy(update={"half_width": 50.0}))))
    assert wide.done and wide.needed is None and wide.num_seeds == SIX
    assert wide.reason.endswith("is at most 50 points")
    (seen,) = wide.contrasts
    assert seen.low is not None and seen.high is not None and seen.name == "grpo − sft_rejection"
    narrow = look_at(load_study(write(made, RULE.model_copy(update={"half_width": 0.5}))))
    assert not narrow.done and narrow.needed is not None and narrow.needed > 20
    half = 100 * (seen.high - seen.low) / 2
    assert narrow.reason == f"half width {half:.4g} is above 0.5 points"
    # The half width falls as t_{n−1}/√n, from t with 5 df to about z.
    level = Rule(schedule(4, 2, 20), (4, 6), by_width=True).nominal(0.05, SIX)
    ratio = norm.isf(level / 2) / student.isf(level / 2, SIX - 1)
    assert narrow.needed == pytest.approx(SIX * (half / 0.5 * ratio) ** 2, rel=0.01)


def test_a_look_stops_by_a_verdict_and_projects_one(made: Path) -> None:
    found = look_at(load_study(write(made, margin=0.02)))
    assert (found.done, found.reason) == (True, "better")
    none = look_at(load_study(write(made, counts=(4, 6), family=["grpo"])))
    assert none.done and [c.verdict for c in none.contrasts] == ["better"]


def test_by_the_criterion_gain_each_level_is_looked_at(made: Path) -> None:
    write(made, family=["grpo"])
    plan = records.read_study(made)
    primary = {"factor": "objective", "criterion": "gain"}
    records.write_record(made / "study.json", plan.model_copy(update={"primary": primary}))
    found = look_at(load_study(made))
    assert [(c.name, c.verdict) for c in found.contrasts] == [("grpo", "better")] and found.done


def test_the_command_prints_a_line_or_json(made: Path, capsys) -> None:
    assert main(["look", str(write(made))]) == 0
    out = capsys.readouterr().out
    assert "grpo − sft_rejection: +" in out and "6 seeds, decided: better" in out
    assert main(["look", str(made), "--json"]) == 0
    assert Look.model_validate_json(capsys.readouterr().out).done
    (made / FILE).unlink()
    assert main(["look", str(write(made, rule=None))]) == 2
    assert "declares no rule for seeds; launch it with until=0.5" in capsys.readouterr().err
