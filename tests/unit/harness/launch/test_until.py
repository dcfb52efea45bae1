"""Seeds that a rule adds: which, when it stops, what a repeated launch goes on with, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.report.build import build_report
from analysis.study.load import load_study
from analysis.study.look import look_at
from harness.launch import pilot
from harness.launch.ablation import read_spec
from harness.launch.expand import expand
from harness.launch.jobs import Functions
from harness.launch.run import main
from harness.launch.until import at_seeds, counts_of, look_text
from harness.records.declarations import read_declaration
from harness.records.looks import FILE, Look, Looks, SeedRule, Seen, read_looks
from harness.records.records import read_run, read_study
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF, STUBS, calls

EVALUATED = Functions(
    execute="tests.unit.harness.stubs:execute_and_evaluate",
    ensure_base="tests.unit.harness.stubs:ensure_base",
)
SPEC: dict[str, Any] = {
    "question": "Which?",
    "factors": {"objective": ["sft_rejection", "grpo"]},
    "seeds": [0, 1],
    "base_seed": "per_seed",
    "control": {"objective": "sft_rejection"},
    "primary": {"factor": "objective", "contrast": "grpo"},
}


@pytest.fixture
def launch(tmp_path: Path):
    """Launch the ablation of stubs, whose GRPO is right 30 points more often; the exit code."""
    (tmp_path / "conf" / "ablation").mkdir(parents=True)
    for group in ("model", "data"):
        (tmp_path / "conf" / group).symlink_to(Path(CONF) / group)

    def run(*more: str, functions: Functions = EVALUATED, behaviour: str = "{}", **spec: object) -> int:
        (tmp_path / "behaviour.json").write_text(behaviour)
        (tmp_path / "calls.txt").write_text("")
        content = {k: v for k, v in (SPEC | spec).items() if v is not None}
        text = yaml.safe_dump({"study": "s", "ablation": content})
        (tmp_path / "conf" / "ablation" / "mine.yaml").write_text(f"# @package _global_\n{text}")
        lines = ["ablation=mine", "model=tiny", "data=tiny", f"output_dir={tmp_path}", *more]
        args = ["--config-dir", str(tmp_path / "conf"), *lines, "hydra.launcher.workers=2"]
        return main(args, functions=functions)

    return run


def seeds_run(folder: Path) -> list[int]:
    return sorted({read_run(p.parent).config["seed"] for p in (folder / "s").glob("*/run.json")})


def looks(folder: Path) -> Looks:
    found = read_looks(folder / "s")
    assert found is not None
    return found


def trained(folder: Path) -> list[str]:
    return [name for name in calls(folder) if not name.startswith("tiny-mixed")]


def test_seeds_are_added_until_the_verdict_and_no_further(launch, tmp_path: Path, capsys) -> None:
    """30 points at an sd of about 8 a seed: t is about 7.5 at 4 seeds, below the 10.2 that is asked there."""
    assert launch("until=verdict") == 0
    found, err = looks(tmp_path), capsys.readouterr().err
    assert [look.num_seeds for look in found.looks] == [4, 6] and seeds_run(tmp_path) == [0, 1, 2, 3, 4, 5]
    first, last = found.looks
    assert not first.done and first.contrasts[0].verdict == "undecided" and first.needed == 6
    assert first.seconds and first.seconds > 0
    assert last.done and last.reason == "better" and last.seconds is None
    assert re.search(r"look 1, 4 seeds: grpo − sft_rejection \+\d\d\.\d \[.*\] points, half width", err)
    assert re.search(r"undecided. Not yet: undecided; about 6 seeds needed, \S+ more. On to 6 seeds", err)
    assert "look 2, 6 seeds" in err and "better. Stopped: better" in err
    assert launch("until=verdict") == 0 and calls(tmp_path) == [] and looks(tmp_path) == found
    # The report's numbers are those that stopped it.
    study = load_study(tmp_path / "s")
    assert look_at(study).contrasts == last.contrasts
    said = (
        "Seeds were added until every primary contrast was better, worse or equivalent, or 20 seeds had run"
    )
    assert f"{said} (2 looks, at 4, 6 seeds)." in " ".join(build_report(study, figures=False).answers)


def test_a_half_width_stops_by_the_adjusted_interval(launch, tmp_path: Path) -> None:
    assert launch("until={half_width: 8, step: 3}") == 0
    found = looks(tmp_path)
    counts = [look.num_seeds for look in found.looks]
    assert counts == list(range(4, counts[-1] + 1, 3)) and 4 < counts[-1] < 20
    halves = [100 * (s.high - s.low) / 2 for look in found.looks for s in look.contrasts]
    assert halves[-1] <= 8 < min(halves[:-1])
    assert len(read_study(tmp_path / "s").seeds) == counts[-1]


def test_a_failed_run_is_no_reason_to_look(launch, tmp_path: Path, capsys) -> None:
    assert launch("until=verdict", behaviour='{"grpo-tiny-s4": "fail"}') == 1
    assert "no look at 6 seeds: a run did not finish; launch again to go on" in capsys.readouterr().err
    assert [look.num_seeds for look in looks(tmp_path).looks] == [4]
    assert launch("until=verdict") == 0
    (again,) = trained(tmp_path)
    assert again.startswith("grpo-tiny-s4") and [look.num_seeds for look in looks(tmp_path).looks] == [4, 6]


def test_a_look_that_failed_is_made_again_without_a_run(launch, tmp_path: Path, capsys) -> None:
    """The plain stubs leave nothing to analyse."""
    assert launch("until=verdict", functions=STUBS) == 1
    err = capsys.readouterr().err
    assert re.search(r"error: no look at 4 seeds: .*no readable evaluation.*; launch again to look\n", err)
    assert read_looks(tmp_path / "s") is None and "Traceback" not in err
    assert launch("until=verdict", functions=STUBS) == 1 and calls(tmp_path) == []


def test_the_pilot_runs_once_and_its_seeds_are_not_taken(launch, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pilot, "_score", lambda job: job.config.trainer.lr)
    grid = {"select": "pooled", "rates": [1e-4, 1e-3], "seeds": [3, 100]}
    assert launch("until={half_width: 8}", lr_grid=grid) == 0
    counts = [look.num_seeds for look in looks(tmp_path).looks]
    assert counts[:2] == [4, 6] and seeds_run(tmp_path) == [0, 1, 2, *range(4, counts[-1] + 1)]
    assert len(list((tmp_path / "s_pilot").glob("*/run.json"))) == 8
    assert len(trained(tmp_path)) == 8 + 2 * counts[-1]
    assert not (tmp_path / "s_pilot" / FILE).exists()
    plan = read_study(tmp_path / "s")
    assert [row["chosen"] for row in plan.pilot] == [1e-3, 1e-3] and plan.declared["until"]["first"] == 4
    assert {read_run(p.parent).config["trainer"]["lr"] for p in (tmp_path / "s").glob("*/run.json")} == {1e-3}


def test_draws_grid_and_matched_steps_go_with_it(tmp_path: Path, launch) -> None:
    """Every seed that is added has its rates, its own problems and base, and its arm's steps."""
    spec = {"lr_grid": {"rates": [1e-4, 1e-3]}, "match": "samples", "draws": "per_seed", "base_seed": None}
    more = ("eval.splits=[validation,test]", "until=1", "rollout.group_size=2")
    assert launch(*more, "--plan", **spec) == 0
    lines = ["ablation=mine", "model=tiny", "data=tiny", f"output_dir={tmp_path}", *more]
    sweep = expand(lines, multirun=True, config_dir=str(tmp_path / "conf"))
    (again,) = [at_seeds(sweep, lines, str(tmp_path / "conf"), 6)]
    assert {job.config.seed for job in again.jobs} == set(range(6)) and len(again.jobs) == 2 * 2 * 6
    for job in again.jobs:
        assert job.config.base_seed == job.config.data.data_seed == job.config.seed
    names = {job.run_id for job in again.jobs}
    assert {job.run_id for job in sweep.jobs} < names and len(names) == 24


def test_the_rule_is_declared_before_the_first_run_and_added_seeds_change_nothing(launch, tmp_path) -> None:
    assert launch(until={"half_width": 20, "max_seeds": 12}) == 0
    declared = read_declaration(tmp_path / "s")
    assert declared is not None and len(declared.entries) == 1 and declared.entries[0].runs_started == 0
    content = declared.entries[0].content
    assert content["seeds"] == [0, 1, 2, 3]
    rule = {"half_width": 20.0, "first": 4, "step": 2, "max_seeds": 12, "seeds": list(range(12))}
    assert content["until"] == rule
    assert not [n for n in build_report(load_study(tmp_path / "s"), figures=False).notes if "by hand" in n]
    # Seeds by hand after that are another declaration, and the report says so.
    last = looks(tmp_path).looks[-1].num_seeds
    assert launch("seed=40", until={"half_width": 20, "max_seeds": 12}) == 0
    study = load_study(tmp_path / "s")
    notes = [n for n in build_report(study, figures=False).notes if "by hand" in n]
    assert len(notes) == 1 and notes[0].startswith(f"seeds 40 were added by hand after {2 * last} runs had")
    assert study.looks is not None and study.looks.counts[-1] == last


def test_another_rule_after_looks_is_refused(launch, tmp_path: Path, capsys) -> None:
    assert launch("until=verdict") == 0
    before = looks(tmp_path)
    assert launch("until=0.5") == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert "looks.json has 2 looks by another rule (verdict, looks at 4, 6, …, 20 seeds)" in err
    assert calls(tmp_path) == [] and looks(tmp_path) == before


def test_the_plan_prices_the_first_seeds_and_the_cap(launch, tmp_path: Path, capsys) -> None:
    assert launch("until={half_width: 0.5, max_seeds: 10}", "--plan") == 0
    out = capsys.readouterr().out
    assert "2 arms × 4 seeds, 8 runs" in out
    said = (
        "half width 0.5 points, looks at 4, 6, …, 10 seeds. The above is what the first 4 seeds take; up to"
    )
    assert f"{said} 6 more, 12 runs, are at most " in out and not (tmp_path / "s").exists()
    capsys.readouterr()
    assert launch("until={half_width: 0.5, max_seeds: 70}", "--plan") == 0
    assert "up to 66 more, 132 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "spec", "said"),
    [
        (["until=half"], {}, "until=half: no number of points, nor the word verdict; write `until: {half"),
        (["until=-0.5"], {}, "until.half_width=-0.5: input should be greater than 0"),
        (["until=0"], {}, "until.half_width=0: input should be greater than 0"),
        (["until=true"], {}, "until=True: true and false are no numbers"),
        (["until=0.5,1"], {}, "until=0.5,1: a study has one rule; give one value"),
        (["until=0.5", "until=verdict"], {}, "until=0.5 until=verdict: a study has one rule"),
        (["until=null"], {}, "until=null: no rule; write"),
        (["until={step: 2}"], {}, "until.half_width=None, verdict=False: give one of the two"),
        (["until={half_width: 1, verdict: true}"], {}, "until.half_width=1.0, verdict=True: give one of the"),
        (["until={halfwidth: 1}"], {}, "until.halfwidth: no such setting; did you mean half_width?"),
        (
            ["until={verdict: true, first: 3}"],
            {},
            "until.first=3: input should be greater than or equal to 4",
        ),
        (["until={verdict: true, max_seeds: 4}"], {}, "until.max_seeds=4: input should be greater than 4"),
        (
            ["until={verdict: true, max_seeds: 6, first: 6}"],
            {},
            "until.max_seeds=6: the first look has 6 seeds",
        ),
        (["until=0.5", "seed=0,1"], {}, "until=0.5 with seed=...: the rule chooses the seeds; drop one of"),
        (["until=0.5"], {"primary": None}, "until: it looks at the primary contrast; give primary"),
        (["until=0.5"], {"seeds": list(range(20))}, "until.max_seeds=20: the first look has 20 seeds"),
        (["until=0.5", "objective=grpo"], {}, "until: it looks at the primary contrast of objective, and"),
        (
            [],
            {"until": {"verdict": True, "max_seeds": 3}},
            "mine.yaml: ablation.until.max_seeds=3: input should",
        ),
        ([], {"until": "soon"}, "mine.yaml: ablation.until=soon: no number of points"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(launch, tmp_path, capsys, lines, spec, said: str) -> None:
    assert launch(*lines, **spec) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("error: ")
    assert not (tmp_path / "s").exists()


def test_without_an_ablation_there_is_nothing_to_add_to(tmp_path: Path, capsys) -> None:
    for lines in (["objective=grpo"], ["objective=grpo", "seed=1"], ["-m", "objective=grpo,sft_rejection"]):
        assert main([*lines, "until=0.5", f"output_dir={tmp_path}"]) == 2
        assert "until=0.5: adds seeds to an ablation; give one: ablation=NAME" in capsys.readouterr().err


def test_the_order_of_seeds_and_looks() -> None:
    def rule(until: object, **spec: object) -> SeedRule:
        found = read_spec(SPEC | spec, "mine.yaml", until)
        assert found is not None and found.seed_rule is not None
        return found.seed_rule

    assert rule(0.5, seeds=[7, 3]).seeds[:5] == [7, 3, 8, 9, 10] and rule(0.5).first == 4
    assert rule("verdict", seeds=[0, 1, 2, 3, 4, 5]).first == 6
    wide = rule({"half_width": 1, "first": 5, "step": 4, "max_seeds": 15}, seeds=[0, 1, 2, 3, 4, 5])
    assert counts_of(wide) == [5, 9, 13, 15] and len(wide.seeds) == 15
    with pytest.raises(ConfigError, match=r"until\.max_seeds"):
        read_spec(SPEC, "mine.yaml", {"half_width": 1, "first": 9, "max_seeds": 8})


def test_a_look_beyond_the_cap_says_what_it_would_take() -> None:
    rule = SeedRule(half_width=0.5, first=4, step=2, max_seeds=20, seeds=list(range(20)))
    seen = Seen(name="b − a", estimate=-0.013, low=-0.022, high=-0.004, verdict="undecided")
    look = Look(num_seeds=6, contrasts=[seen], done=False, reason="half width 0.9", needed=34, seconds=7200)
    assert look_text(2, look, rule) == (
        "look 2, 6 seeds: b − a −1.3 [−2.2, −0.4] points, half width 0.90, undecided. Not yet: half width "
        "0.9; not by the cap of 20 if it goes on so, about 34 needed, 2h00m more. On to 8 seeds"
    )
