"""Studies of runs launched one by one: what varies names the arms, and one factor alone is a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.report.build import build_report
from analysis.study.by_hand import inferred_factors, level_of
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.design import design_notes
from analysis.study.load import Study, load_study
from harness.records.records import RunRecord
from tests.unit.analysis.conftest import run_record, write_run


class ByHand:
    """Runs written one by one into a study without a study.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "outputs" / "hand"
        self.number = 0

    def run(
        self, objective: str, rate: float, *, seed: int = 0, status: str = "finished", **settings: Any
    ) -> str:
        """Write a run; `settings` are dotted keys with _ for dots, given on its command line."""
        self.number += 1
        name = f"{objective}-xs-s{seed}-{self.number:04d}"
        model = settings.pop("model", "xs")
        record = run_record(name, objective, model, seed, status=status)
        record.config["objective"]["kl"]["coef"] = 0.04 if objective == "grpo" else 0.0
        for key, value in settings.items():
            *groups, last = key.split("__")
            inner = record.config
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[last] = value
            record.overrides.insert(0, f"{key.replace('__', '.')}={value}")
        write_run(self.folder, record, rate)
        return name

    def load(self) -> Study:
        return load_study(self.folder)


@pytest.fixture
def hand(tmp_path: Path) -> ByHand:
    return ByHand(tmp_path)


def differences(study: Study) -> dict[str, str | None]:
    """Arm -> the arm that it is compared with, where a difference is taken."""
    return {r.label: r.control for r in arm_results(study, primary_of(study)) if r.difference is not None}


def test_one_factor_that_differs_is_a_difference(hand: ByHand) -> None:
    for seed in range(2):
        hand.run("sft_rejection", 0.4, seed=seed)
        hand.run("grpo", 0.7, seed=seed)
    study = hand.load()
    # objective.kl.coef varies too, and goes with the objective's name
    assert study.record.factors == {"objective": ["grpo", "sft_rejection"]}
    assert {arm.label for arm in study.record.arms} == {"objective=grpo", "objective=sft_rejection"}
    assert len(differences(study)) == 1


def test_arms_are_labelled_by_everything_that_varies_and_pairs_are_of_one_factor(hand: ByHand) -> None:
    """GRPO at two rates and SFT at one of them: GRPO 1e-3 against SFT 3e-4 is no comparison."""
    for seed in range(2):
        hand.run("grpo", 0.7, seed=seed)
        hand.run("grpo", 0.6, seed=seed, trainer__lr=1e-3)
        hand.run("sft_rejection", 0.4, seed=seed)
    study = hand.load()
    labels = [arm.label for arm in study.record.arms]
    assert labels == [
        "objective=grpo trainer.lr=0.0003",
        "objective=grpo trainer.lr=0.001",
        "objective=sft_rejection trainer.lr=0.0003",
    ]
    assert differences(study) == {labels[2]: labels[0]}
    (note,) = [n for n in design_notes(study) if "is in no difference" in n]
    assert note.startswith("objective=grpo trainer.lr=0.001 is in no difference: the nearest arm, ")
    assert "differs in trainer.lr (0.001, there 0.0003)" in note


def test_two_settings_at_once_are_no_difference_and_a_command_says_the_way(hand: ByHand) -> None:
    for seed in range(2):
        hand.run("grpo", 0.7, seed=seed)
        hand.run("sft_rejection", 0.4, seed=seed, trainer__lr=1e-3)
    study = hand.load()
    assert differences(study) == {} and study.record.control == {}
    notes = [note for note in design_notes(study) if "is in no difference" in note]
    assert notes[0] == (
        "objective=grpo trainer.lr=0.0003 is in no difference: the nearest arm, "
        "objective=sft_rejection trainer.lr=0.001, differs in objective (grpo, there sft_rejection), "
        "trainer.lr (0.0003, there 0.001); to compare them by objective alone: "
        "python -m harness objective=grpo model=xs seed=0 trainer.lr=0.001"
    )
    build_report(study, figures=False)  # it is shown all the same
    table = next(t for t in build_report(study, figures=False).tables if t.name == "config_diff")
    assert {row[2]: row[5] for row in table.cells}["trainer.lr"] == "NO"


def test_a_failed_run_is_never_a_control_and_its_settings_name_no_other_arm(hand: ByHand) -> None:
    """The first try failed with settings of its own: the others are compared as if it were not there."""
    hand.run("aaa_first", 0.0, seed=0, status="failed", data__levels=[7])
    for seed in range(2):
        hand.run("grpo", 0.7, seed=seed)
        hand.run("sft_rejection", 0.4, seed=seed)
    study = hand.load()
    arms = study.record.arms
    assert [arm.label for arm in arms[:2]] == ["objective=grpo", "objective=sft_rejection"]
    assert arms[2].label == "objective=aaa_first data.levels=[7]"
    assert study.record.control["objective"] != "aaa_first"
    found = differences(study)
    assert len(found) == 1 and not set(found) & {arms[2].label} and arms[2].label not in found.values()


def test_a_setting_typed_beside_the_objective_is_a_factor_of_its_own(hand: ByHand) -> None:
    for seed in range(2):
        hand.run("grpo", 0.7, seed=seed)
        hand.run("sft_rejection", 0.4, seed=seed, objective__kl__coef=0.5)
    study = hand.load()
    assert set(study.record.factors) == {"objective", "objective.kl.coef"}
    assert differences(study) == {}


def test_the_level_that_most_arms_can_be_compared_with_is_the_control(hand: ByHand) -> None:
    for coef in (0.0, 0.1, 0.2):
        for seed in range(2):
            hand.run("grpo", 0.5 + coef, seed=seed, objective__kl__coef=coef)
    hand.run("grpo", 0.9, seed=0, objective__kl__coef=0.3, trainer__lr=1e-3)
    study = hand.load()
    assert study.record.control == {"objective.kl.coef": "0.0"}
    assert sorted(differences(study).values()) == ["objective.kl.coef=0.0 trainer.lr=0.0003"] * 2


def test_one_arm_alone_has_no_factor_and_no_note(hand: ByHand) -> None:
    hand.run("grpo", 0.7)
    study = hand.load()
    assert study.record.factors == {} and study.record.arms[0].label == "all runs"
    assert [n for n in design_notes(study) if "no difference" in n] == []


def test_a_function_of_ones_own_is_one_factor() -> None:
    def record(path: str, sha256: str) -> RunRecord:
        found = run_record(path, "grpo", "xs", 0)
        found.config["objective"]["reward"] = {
            "custom": {"path": path, "sha256": sha256, "source": path, "weight": 1}
        }
        return found

    from analysis.study.configs import flatten

    runs = {"a": record("a.py:f", "1"), "b": record("b.py:f", "2")}
    configs = {name: flatten(r.config) for name, r in runs.items()}
    keys = ["objective.reward.custom.path", "objective.reward.custom.sha256"]
    assert inferred_factors(runs, configs) == {"objective.reward.custom": keys}
    edited = {"a": record("a.py:f", "1"), "b": record("a.py:f", "2")}  # the file was changed in between
    configs = {name: flatten(r.config) for name, r in edited.items()}
    assert inferred_factors(edited, configs) == {"objective.reward.custom": keys[1:]}
    assert [level_of(configs[name], keys[1:]) for name in "ab"] == ["a.py:f@1", "a.py:f@2"]
