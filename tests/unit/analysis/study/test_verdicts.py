"""Each verdict word from a study on disk that was made for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.build import build_report
from analysis.stats.verdict import Verdict
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.evaluations import family_of
from analysis.study.load import load_study
from analysis.study.verdicts import ContrastVerdict, contrast_verdicts
from analysis.tables.families import families_table
from harness.records import records
from harness.records.records import EvalRecord

FAMILIES = ("gcd", "divisors", "digit_sum", "remainder", "polynomial", "linear_equation")
SEEDS = 5
FOLDERS: list[Path] = []  # of the studies made so far


def wobble(seed: int) -> int:
    """Samples more or less on a problem of each seed's own, so that intervals have a width."""
    return (-1, 1, 0, 1, -1)[seed]


def counts(base: int, seed: int, num: int = 20, extra: int = 0) -> list[int]:
    """Right of 8 for each problem: `base`, one more on `extra` problems, and on one the seed's wobble."""
    rights = [base + (1 if i < extra else 0) for i in range(num)]
    rights[seed] += wobble(seed)
    return rights


def put(path: Path, rights: Sequence[int], *, best_constant: float = 0.05) -> None:
    """Set an evaluation's samples: `rights` of 8 a problem, six families in turn."""
    record = records.read_eval(path)
    grid = [[int(j < right) for j in range(8)] for right in rights]
    ids = [f"aime_gen/test/{i:06d}-{FAMILIES[i % 6]}-L{1 + i % 2}" for i in range(20)]
    zeros = [[0] * 8 for _ in rights]
    changed = {
        "k": 8,
        "problem_ids": ids,
        "correct": grid,
        "answers": [["right" if c else "wrong" for c in row] for row in grid],
        "stepped": zeros,
        "num_steps": zeros,
        "num_wrong_steps": zeros,
        "lengths": [[9] * 8 for _ in rights],
        "truncated": zeros,
        "greedy_correct": [row[0] for row in grid],
        "best_constant": best_constant,
        "levels": [1 + i % 2 for i in range(20)],
    }
    records.write_record(path, record.model_copy(update=changed))


def made(
    make_study: Callable[..., Path],
    *,
    base: Callable[[int], list[int]],
    control: Callable[[int], list[int]],
    arm: Callable[[int], list[int]],
    seeds: int = SEEDS,
    margin: object = None,
    best_constant: float = 0.05,
) -> ContrastVerdict:
    """The verdict on grpo against sft_rejection in a study of these right samples by seed."""
    folder = make_study(seeds=seeds, models=("xs",))
    FOLDERS.append(folder)
    for seed in range(seeds):
        (own,) = (folder.parent / "bases" / "base-xs" / "eval").glob(f"*key{seed}/aime_gen_test.json")
        put(own, base(seed), best_constant=best_constant)
        for name, rights in (("sft_rejection", control), ("grpo", arm)):
            (path,) = (folder / f"{name}-xs-s{seed}-abcd" / "eval").glob("step_*/aime_gen_test.json")
            put(path, rights(seed), best_constant=best_constant)
    plan = json.loads((folder / "study.json").read_text())
    plan |= {"primary": {"factor": "objective", "contrast": "grpo"}, "declared": {"margin": margin}}
    (folder / "study.json").write_text(json.dumps(plan))
    study = load_study(folder)
    primary = primary_of(study)
    (contrast,) = contrast_verdicts(study, primary, arm_results(study, primary))
    answer = build_report(study, figures=False).answers[1]
    assert (contrast.primary.verdict.reason or "") in answer
    return contrast


def level(right: int, extra: int = 0, *, phase: int = 0) -> Callable[[int], list[int]]:
    """Right samples of a seed; studies of different `phase` wobble at different seeds."""
    return lambda seed: counts(right, (seed + phase) % SEEDS, extra=extra)


def one_family(seed: int) -> list[int]:
    """As level(4), and all right in `divisors` alone; elsewhere seeds go up and down."""
    rights = [8 if i % 6 == 1 else 4 for i in range(20)]
    rights[2] += 2 * wobble(seed)
    return rights


QUARTER = {"share": 0.25}


@pytest.mark.parametrize(
    ("word", "reason", "study"),
    [
        ("better", None, {"base": level(2), "control": level(4, phase=1), "arm": level(6, phase=3)}),
        ("worse", None, {"base": level(2), "control": level(6, phase=1), "arm": level(4, phase=3)}),
        (
            "equivalent",
            None,
            {"base": level(2), "control": level(6, phase=1), "arm": level(6, 1, phase=3), "margin": QUARTER},
        ),
        (
            "undecided",
            None,
            {"base": level(2), "control": level(4, phase=1), "arm": lambda s: counts(4, (s + 2) % 5)},
        ),
        (
            "cannot tell",
            "three seeds",
            {"base": level(2), "control": level(4, phase=1), "arm": level(6, phase=3), "seeds": 3},
        ),
        (
            "cannot tell",
            "all at the floor: neither arm is above the best constant answer",
            {"base": level(2), "control": level(3, phase=1), "arm": level(5, phase=3), "best_constant": 0.9},
        ),
        (
            "cannot tell",
            "no gain in the control",
            {
                "base": level(4),
                "control": level(4, phase=1),
                "arm": lambda s: counts((7, 2, 7, 3, 5)[s], s),
                "margin": QUARTER,
            },
        ),
        (
            "cannot tell",
            "the untrained base passes the same test of equivalence",
            {"base": level(2), "control": level(4, phase=1), "arm": level(4, 1, phase=3), "margin": 0.4},
        ),
        (
            "cannot tell",
            "the arms hardly moved from their base",
            {"base": level(4), "control": level(4, 1, phase=1), "arm": level(4, 2, phase=3)},
        ),
        (
            "cannot tell",
            "one family, divisors, carries the difference",
            {"base": level(2), "control": level(4, phase=1), "arm": one_family},
        ),
    ],
)
def test_every_word_is_reached(make_study, word: str, reason: str | None, study: dict) -> None:
    contrast = made(make_study, **study)
    assert (contrast.primary.verdict.word, contrast.primary.verdict.reason) == (word, reason)
    assert list(contrast.measures) == ["avg", "greedy", "pass"]


def verdict_and_effects(folder: Path) -> tuple[Verdict, pd.DataFrame]:
    """The verdict on the one contrast, and effects by family and level, by arm, effect and group."""
    study = load_study(folder)
    primary = primary_of(study)
    results = arm_results(study, primary)
    (contrast,) = contrast_verdicts(study, primary, results)
    raw = families_table(study, primary, results).raw
    return contrast.primary.verdict, raw.set_index(["arm", "of", "by", "group"])


def renamed(folder: Path, names: Callable[[EvalRecord], dict[str, object]]) -> None:
    for path in folder.parent.glob("**/aime_gen_test.json"):
        record = records.read_eval(path)
        records.write_record(path, record.model_copy(update=names(record)))


def drawn_anew(record: EvalRecord) -> dict[str, object]:
    """Fields that put the problems in an order of the seed's own, under other ids."""
    turn = record.eval_sampling_seed
    lists = {
        name: values[turn:] + values[:turn]
        for name, values in record.model_dump().items()
        if isinstance(values, list) and len(values) == record.n_problems
    }
    ids = [re.sub(r"/\d+", f"/{i:06d}", name) for i, name in enumerate(lists["problem_ids"])]
    return lists | {"problem_ids": ids}


def test_seeds_with_problems_of_their_own_are_compared_by_family(make_study) -> None:
    made(make_study, base=level(2), control=level(4, phase=1), arm=one_family)
    verdict, effects = verdict_and_effects(FOLDERS[-1])
    renamed(FOLDERS[-1], drawn_anew)
    paths = list(FOLDERS[-1].glob("*/eval/step_*/aime_gen_test.json"))
    assert len({tuple(records.read_eval(path).problem_ids) for path in paths}) > 1
    drawn, of_families = verdict_and_effects(FOLDERS[-1])
    assert drawn == verdict == Verdict("cannot tell", "one family, divisors, carries the difference")
    pd.testing.assert_frame_equal(of_families, effects)
    # 8 of 8 against 4 of 8 on four problems, where the control wobbles by 1 at two of the seeds.
    effect = effects.loc[("objective=grpo model=xs", "difference to control", "family", "divisors")]
    assert effect["estimate"] == pytest.approx(0.5, abs=0.01) and effect["problems"] == 4


def test_seeds_with_other_numbers_of_a_family_have_no_effect_by_family(make_study) -> None:
    made(make_study, base=level(2), control=level(4, phase=1), arm=one_family)
    names = ["gcd"] * 6 + ["divisors"] * 14
    more = {"problem_ids": [f"aime_gen/test/{i:06d}-{name}-L{1 + i % 2}" for i, name in enumerate(names)]}
    renamed(FOLDERS[-1], lambda record: more if record.eval_sampling_seed == 1 else {})
    verdict, effects = verdict_and_effects(FOLDERS[-1])
    assert verdict == Verdict("better")  # nothing is known of families
    assert set(effects.index.get_level_values("by")) == {"level"}  # ten problems of each level, at every seed


def test_families_are_tabled_and_drawn(make_study) -> None:
    """sft gains 2 of 8 samples everywhere: 25 points; grpo has 4 of 8 more in divisors alone: 50 points."""
    contrast = made(make_study, base=level(2), control=level(4, phase=1), arm=one_family)
    new = contrast.primary.new_families
    assert new is not None and new.low is not None and new.low < 0 < (new.high or 0)
    study = load_study(FOLDERS[-1])
    report = build_report(study)
    (table,) = (t for t in report.tables if t.name == "families")
    raw = (
        table.raw[table.raw["arm"] == "objective=grpo model=xs"].set_index(["of", "by", "group"]).sort_index()
    )
    assert raw.loc[("difference to control", "family", "divisors"), "estimate"] == pytest.approx(
        0.5, abs=0.02
    )
    assert raw.loc[("difference to control", "family", "gcd"), "estimate"] == pytest.approx(0, abs=0.02)
    # Four problems of twenty are divisors: 4 · 0.75 of 4 · 0.75 + 16 · 0.25.
    assert raw.loc[("gain over base", "family", "divisors"), "share"] == pytest.approx(3 / 7, abs=0.02)
    assert {"1", "2"} <= set(raw.loc[("gain over base", "level")].index)
    (row,) = (
        cells for cells in table.cells if cells[:2] == ["objective=grpo model=xs", "difference to control"]
    )
    assert row[2] == "divisors" and row[-1].startswith("+0.3 [−")  # the median family; the mean is +8
    (figure,) = (f for f in report.figures if f.name == "families")
    labels = {mark["label"] for mark in figure.rows}
    assert labels == {*FAMILIES, "all problems", "new families"}
    said = " ".join(report.answers)
    assert "On which problems? " in said and "For new families of problems" in said
    (views,) = (t for t in report.tables if t.name == "views")
    assert "crossed t: more problems of these families" in views.columns


def unsteady(seed: int) -> list[int]:
    """As level(2), and in `divisors` -2, 2, 1, -1 and 1 more: 0.2 on average, of no side."""
    return [2 + (-2, 2, 1, -1, 1)[seed] * (i % 6 == 1) for i in range(20)]


@pytest.mark.parametrize(("control", "is_said"), [(unsteady, False), (level(4, phase=1), True)])
def test_a_gain_that_is_not_shown_is_not_taken_apart(
    make_study, control: Callable[[int], list[int]], is_said: bool
) -> None:
    """The control's gain of half a point is all of one family, and not shown; 25 points are."""
    made(make_study, base=lambda seed: [2] * 20, control=control, arm=level(6))
    answers = build_report(load_study(FOLDERS[-1]), figures=False).answers
    assert any("no gain shown" in line for line in answers) is not is_said
    assert any(line.startswith("On which problems?") for line in answers) is is_said


def test_a_generated_problem_has_its_family_in_its_id_and_another_its_topic() -> None:
    assert family_of("aime_gen/test/000003-linear_equation-L2", "algebra") == "linear_equation"
    assert family_of("general/test/000003-sort_words-L1", None) == "sort_words"
    assert family_of("aime_gen/perturbed/000003-gcd-L5", "number_theory") == "gcd"
    assert family_of("math500/test/algebra/1349.json", "Algebra") == "Algebra"
    assert family_of("gsm8k/test/7", None) is None
