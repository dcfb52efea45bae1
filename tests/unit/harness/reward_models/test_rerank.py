"""Best-of-n at evaluation: the estimator by hand, the key, and scorers that are trained once for a base."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from math import sqrt
from pathlib import Path
from statistics import fmean

import pytest

from analysis.stats.metrics import best_of_k, pair_auc
from harness.identity import base_folder, eval_key, run_id
from harness.reward_models.rerank import scorers
from harness.schema.run_config import RunConfig
from harness.types import Prompt, Rollout
from tests.benchmarks.reward_models import distinct_at_k
from tests.unit.harness.evaluation.test_evaluate import ScriptedEngine, config, no_network, run
from tests.unit.harness.tiny import configure, untrained_base

__all__ = ["config", "no_network"]
RERANK = "eval.rerank=[outcome,process]"


def test_best_of_k_by_hand() -> None:
    # p0: the best is right. p1: two tie at the top, one of them right. p2: the best is wrong.
    correct = [[True, False], [True, False], [True, False]]
    found = best_of_k(correct, [[0.9, 0.1], [0.5, 0.5], [0.2, 0.7]])
    assert found.value == 0.5 and found.k == 2 and found.per_problem == (1.0, 0.5, 0.0)
    # Two draws of two. p0: right unless both are the second, 3/4: variance 3/16; p2 the same. p1: both tie
    # always: shares 1, 1/2, 1/2, 0: variance 1/8.
    assert found.se_sampling == pytest.approx(sqrt(3 / 16 + 1 / 8 + 3 / 16) / 3)
    assert found.se_problems == pytest.approx(0.5 / sqrt(3))  # sd(1, 1/2, 0) = 1/2
    assert best_of_k([[True]], [[0.3]]).se_sampling is None


def test_the_variance_is_that_of_all_equal_draws() -> None:
    right, scores = [True, False, False, True], [0.4, 0.4, 0.1, 0.3]
    values = []
    for drawn in product(range(4), repeat=4):
        top = max(scores[i] for i in drawn)
        values.append(fmean(right[i] for i in drawn if scores[i] == top))
    variance = fmean(v * v for v in values) - fmean(values) ** 2
    assert best_of_k([right], [scores]).se_sampling == pytest.approx(sqrt(variance))


def test_scores_must_fit() -> None:
    with pytest.raises(ValueError, match="scores: rows differ"):
        best_of_k([[True, False]], [[0.1]])
    with pytest.raises(ValueError, match="not finite"):
        best_of_k([[True, False]], [[0.1, float("nan")]])


def test_scores_without_information_choose_a_distinct_output() -> None:
    # p: "x" four times and right, "y" and "z" once each and wrong: 4 of 6 samples, 1 of 3 outputs. q: 1 of 1.
    texts = [("p", "x", True)] * 4 + [("p", "y", False), ("p", "z", False)] + [("q", "x", True)] * 2
    rows = [
        {"problem_id": p, "sample_idx": i, "completion": text, "correct": right}
        for i, (p, text, right) in enumerate(texts)
    ]
    greedy = {"problem_id": "p", "sample_idx": None, "completion": "w", "correct": True}
    expected = (1 / 3 + 1) / 2
    assert distinct_at_k([*rows, greedy]) == pytest.approx(expected)
    # The mean of best_of_k over every order of the three outputs' scores.
    values = [
        best_of_k([[True] * 4 + [False] * 2, [True] * 2], [[a] * 4 + [b, c], [0.5] * 2]).value
        for a, b, c in permutations((0.1, 0.2, 0.3))
    ]
    assert fmean(values) == pytest.approx(expected)


def test_pairs_of_one_problem_by_hand() -> None:
    # 0.9 > 0.1; 0.5 = 0.5; 0.2 < 0.7: 1.5 of 3. Over all: of 0.9, 0.5, 0.2 against 0.1, 0.5, 0.7,
    # 3 + (1 + 0.5) + 1 = 5.5 of 9.
    correct, scores = [[True, False]] * 3, [[0.9, 0.1], [0.5, 0.5], [0.2, 0.7]]
    assert pair_auc(correct, scores) == pytest.approx(0.5)
    assert pair_auc([[True, False] * 3], [[0.9, 0.1, 0.5, 0.5, 0.2, 0.7]]) == pytest.approx(5.5 / 9)
    assert pair_auc([[True, True], [False]], [[0.1, 0.2], [0.3]]) is None


def test_rerank_is_part_of_the_key_when_it_is_not_empty() -> None:
    plain = configure()
    assert eval_key(configure("eval.rerank=[]")) == eval_key(plain)
    assert eval_key(configure("eval.outcome_model.epochs=9")) == eval_key(plain)  # not used
    keys = {
        eval_key(configure(*lines))
        for lines in (
            [],
            ["eval.rerank=[outcome]"],
            [RERANK],
            ["eval.rerank=[outcome]", "eval.outcome_model.epochs=9"],
        )
    }
    assert len(keys) == 4
    assert run_id(configure(RERANK)) == run_id(plain)


def reranked(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"eval": config.eval.model_copy(update={"rerank": ["outcome"]})})


def test_an_evaluation_records_the_best_sample(config: RunConfig, tmp_path: Path) -> None:
    asked: list[str] = []

    def score(prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        assert [p.problem_id for p in prompts] == [r.problem_id for r in rollouts]
        asked.extend(p.problem_id for p in prompts)
        return [{0: 0.1, 1: 0.2, 2: 0.9, 3: 0.3}[r.sample_idx] for r in rollouts]

    records = run(reranked(config), tmp_path, ScriptedEngine(), scorers=lambda: {"outcome": score})
    test = next(r for r in records if r.split == "test")
    # The third sample is right for both problems, of which the majority gets one.
    assert test.metrics["best_of_k_outcome"] == 1.0 and test.metrics["maj_at_k"] == 0.5
    # Sample 2 is among four draws of four unless all are others: then the best is 3 unless all are 0, 1, ...
    # p0, right but for sample 3: wrong where 3 is the best, (3/4)^4 - (2/4)^4 = 65/256.
    # p1, wrong but for sample 2: wrong with (3/4)^4 = 81/256.
    by_hand = sqrt(65 * 191 + 81 * 175) / 256 / 2
    assert test.metrics["best_of_k_outcome_se_sampling"] == pytest.approx(by_hand)
    assert "best_of_k_outcome_se_problems" not in test.metrics  # both problems right: no spread to go by
    assert test.rerank_scores == {"outcome": [[0.1, 0.2, 0.9, 0.3]] * 2}
    assert asked[:4] == ["p0"] * 4 or asked[:4] == ["p2"] * 4

    def refuse() -> dict[str, object]:
        raise AssertionError("everything is recorded already")

    again = run(reranked(config), tmp_path, ScriptedEngine(), scorers=refuse)
    assert [r.model_dump() for r in again] == [r.model_dump() for r in records]


def test_reward_models_are_trained_once_for_a_base_whatever_the_arm(tmp_path: Path) -> None:
    lines = [
        f"output_dir={tmp_path}",
        RERANK,
        "eval.k=2",
        "eval.max_new_tokens=8",
        "eval.outcome_model.num_problems=6",
        "eval.process_model.num_problems=6",
    ]
    first = configure(*lines)
    base = untrained_base(base_folder(first))
    prompts = [Prompt(f"p{i}", "question", "", (7, 3 + i)) for i in range(3)]
    rollouts = [Rollout(f"p{i}", 0, (40 + i, 41, 1), "1+1=2", None, "stop") for i in range(3)]
    found = scorers(first, base, "cpu")
    assert list(found) == ["outcome", "process"]
    made = {p: p.stat().st_mtime_ns for p in (base / "verifiers").glob("*/model.pt")}
    assert len(made) == 2
    other = configure(*lines, "objective=rloo", "seed=5", "rollout.group_size=2")
    again = scorers(other, base, "cpu")
    assert {p: p.stat().st_mtime_ns for p in (base / "verifiers").glob("*/model.pt")} == made
    for kind, score in found.items():
        assert again[kind](prompts, rollouts) == score(prompts, rollouts)
        assert all(0 < x < 1 for x in score(prompts, rollouts))
    scorers(configure(*lines, "eval.outcome_model.epochs=1"), base, "cpu")
    assert len(list((base / "verifiers").glob("*/model.pt"))) == 3
