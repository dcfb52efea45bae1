"""A checkpoint's numbers beside its base's, against arithmetic by hand and scipy's t and Wilson's formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from harness.launch.measured import measured, over_problems, per_problem
from harness.records.records import EvalRecord, RecordError, RunRecord, write_record

BEFORE = [[0, 0], [1, 0], [1, 1], [0, 0]]
AFTER = [[1, 0], [1, 1], [1, 1], [0, 0]]


def evaluation(correct: list[list[int]], **fields: Any) -> EvalRecord:
    """Answers are `r` where right and `w` where wrong."""
    n, k = len(correct), len(correct[0])
    answers = [["r" if right else "w" for right in row] for row in correct]
    same = {
        name: [[0] * k] * n for name in ("stepped", "num_steps", "num_wrong_steps", "lengths", "truncated")
    }
    values = {
        **same,
        **{"key": "aaaa1111", "task": "aime_gen_test_k", "task_version": 1.3, "split": "test"},
        **{
            "checkpoint": "step_000002-aaaa1111",
            "step": 2,
            "run_id": "r",
            "base_id": "b",
            "n_problems": n,
            "k": k,
        },
        **{"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "eval_sampling_seed": 1},
        **{"problem_ids": [f"p{i}" for i in range(n)], "pair_ids": [None] * n, "topics": [None] * n},
        **{
            "levels": [None] * n,
            "correct": correct,
            "answers": answers,
            "greedy_correct": [r[0] for r in correct],
        },
        **{
            "best_constant": 0.25,
            "best_constant_answer": "7",
            "metrics": {"avg_at_k": 0.625},
            "seconds": 1.0,
        },
        "lm_eval_version": "0",
    }
    return EvalRecord(**values | fields)


def run_record(**fields: Any) -> RunRecord:
    values: dict[str, Any] = {
        **{"run_id": "r", "study": "s", "status": "finished", "config": {}, "seeds": {}, "base_id": "b"},
        **{"data_hash": "d", "code": {"version": "0", "commit": "c", "dirty": False}, "packages": {}},
        **{"hardware": {}, "started": "now", "steps_done": 2, "eval_keys": {"aime_gen_test_k": "aaaa1111"}},
    }
    return RunRecord(**values | fields)


def write_all(outputs: Path, *, after: EvalRecord, before: EvalRecord | None) -> Path:
    folder = outputs / "s" / "r"
    write_record(folder / "eval" / f"step_000002-{after.key}" / f"{after.task}.json", after)
    if before is not None:
        where = outputs / "bases" / "b" / "eval" / f"base-{before.key}"
        write_record(where / f"{before.task}.json", before)
    return folder


def test_every_measure_of_a_problem() -> None:
    found = per_problem(evaluation([[1, 0, 0], [1, 1, 0], [0, 0, 0]]))
    assert found["avg@3"] == pytest.approx((1 / 3, 2 / 3, 0))
    assert found["greedy"] == (1, 1, 0)
    assert found["pass@3"] == pytest.approx((1, 1, 0))
    assert found["maj@3"] == pytest.approx((0, 1, 0))  # w, w against r; r, r against w; w alone
    assert set(per_problem(evaluation([[1], [0]], greedy_correct=None))) == {"avg@1"}


def test_a_mean_has_students_interval_over_problems_within_0_and_1() -> None:
    values = (0.0, 0.5, 0.25, 1.0, 0.0)  # mean .35; squares .1225 .0225 .01 .4225 .1225: sd sqrt(.7 / 4)
    estimate, low, high = over_problems(values)
    half = stats.t.ppf(0.975, 4) * (0.7 / 4) ** 0.5 / 5**0.5
    assert estimate == pytest.approx(0.35) and high == pytest.approx(0.35 + half)
    assert 0.35 - half < 0 and low == 0.0
    assert over_problems([0.5, 0.5, 0.5]) == (0.5, None, None)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_wrong_and_all_right_have_wilsons_interval(share: float) -> None:
    estimate, low, high = over_problems([share] * 8)
    theirs = stats.binomtest(int(8 * share), 8).proportion_ci(method="wilson")
    assert (estimate, low, high) == pytest.approx((share, theirs.low, theirs.high))


def test_the_difference_is_paired_by_problem(tmp_path: Path) -> None:
    folder = write_all(tmp_path, after=evaluation(AFTER), before=evaluation(BEFORE, step=0))
    (found,) = measured(folder, run_record(), 2)
    avg = found.measures[0]
    assert avg.name == "avg@2" and avg.after == (0.5, 1, 1, 0) and avg.before == (0, 0.5, 1, 0)
    theirs = stats.ttest_1samp([0.5, 0.5, 0, 0], 0)  # problem by problem, 25 points
    assert avg.difference is not None and avg.difference.estimate == pytest.approx(0.25)
    assert avg.difference.p_value == pytest.approx(theirs.pvalue)
    ends = theirs.confidence_interval(0.95)
    assert (avg.difference.low, avg.difference.high) == pytest.approx((ends.low, ends.high))


def test_other_problems_or_no_base_give_no_difference(tmp_path: Path) -> None:
    others = evaluation(BEFORE, step=0, problem_ids=["q", "p1", "p2", "p3"])
    folder = write_all(tmp_path / "a", after=evaluation(AFTER), before=others)
    (found,) = measured(folder, run_record(), 2)
    assert found.measures[0].before is not None and found.measures[0].difference is None
    folder = write_all(tmp_path / "b", after=evaluation(AFTER), before=None)
    (found,) = measured(folder, run_record(), 2)
    assert found.before is None and found.measures[0].difference is None


def test_earlier_protocols_other_steps_and_further_samplings_are_left_out(tmp_path: Path) -> None:
    record = run_record(sampling_keys={"0.5, 1": "cccc3333"})
    folder = write_all(tmp_path, after=evaluation(AFTER), before=None)
    for key, step in (("bbbb2222", 2), ("cccc3333", 2), ("aaaa1111", 1)):
        other = evaluation(BEFORE, key=key, step=step)
        write_record(folder / "eval" / f"step_{step:06d}-{key}" / "aime_gen_test_k.json", other)
    assert [each.after.correct for each in measured(folder, record, 2)] == [AFTER]


def test_the_bases_numbers_are_those_of_the_same_protocol(tmp_path: Path) -> None:
    folder = write_all(tmp_path, after=evaluation(AFTER), before=evaluation(BEFORE, key="bbbb2222", step=0))
    (found,) = measured(folder, run_record(), 2)
    assert found.before is None


@pytest.mark.parametrize("whose", ["s/r/eval", "bases/b/eval"])
def test_a_damaged_evaluation_is_named(tmp_path: Path, whose: str) -> None:
    folder = write_all(tmp_path, after=evaluation(AFTER), before=evaluation(BEFORE, step=0))
    (path,) = (tmp_path / whose).rglob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"n_problems": 4', b'"n_problems": 5'))
    with pytest.raises(RecordError, match=re_of(path)):
        measured(folder, run_record(), 2)


def re_of(path: Path) -> str:
    import re

    return re.escape(str(path))
