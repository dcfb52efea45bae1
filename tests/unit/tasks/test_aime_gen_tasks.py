"""The task files as plain lm-eval sees them, with a stand-in model."""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path

import pytest

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.model import LM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from harness.data.load import load_split  # noqa: E402
from harness.schema.data_config import DataConfig  # noqa: E402

TASKS = Path(__file__).resolve().parents[3] / "tasks"
DATA = {
    "name": "small",
    "dataset": "aime_gen",
    "template": "question",
    "answer_rules": ["boxed"],
    "answer_range": [0, 999],
    "style": "terse",
    "families": ["gcd", "digit_sum"],
    "levels": [1],
    "num_train": 6,
    "num_test": 4,
}


class Knows(LM):
    """Answers the first `right` samples of each problem rightly, the others by "no"."""

    def __init__(self, answers: dict[str, str], right: int) -> None:
        super().__init__()
        self.answers, self.right, self.seen = answers, right, dict.fromkeys(answers, 0)

    def generate_until(self, requests: list) -> list[str]:
        out = []
        for request in requests:
            text = request.args[0]
            self.seen[text] += 1
            out.append(rf"\boxed{{{self.answers[text]}}}" if self.seen[text] <= self.right else "no")
        return out

    def loglikelihood(self, requests: list) -> list:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list) -> list:
        raise NotImplementedError


def simple_evaluate(task: str, right: int) -> dict[str, float]:
    problems = load_split(DataConfig.model_validate(DATA), "test")
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"data": DATA})
    lm = Knows({p.text + "\n": p.answer for p in problems}, right)
    results = lm_eval.simple_evaluate(lm, tasks=[task], task_manager=manager, bootstrap_iters=0)
    return {k.removesuffix(",all"): v for k, v in results["results"][task].items() if k.endswith(",all")}


def test_plain_lm_eval_scores_all_samples_of_a_document() -> None:
    values = simple_evaluate("aime_gen_test_k", right=6)
    assert values["avg_at_k"] == 6 / 8 and values["pass_at_k"] == 1 and values["maj_at_k"] == 1
    assert values["extracted_share"] == 6 / 8 and values["direct_share"] == 1
    # each of 4 problems has p(1-p)/(n-1) = (3/16)/7; sqrt(4 × 3/112)/4
    assert values["avg_at_k_se_sampling"] == pytest.approx(sqrt(4 * 3 / 112) / 4)
    assert values["avg_at_k_se_problems"] == 0


def test_plain_lm_eval_runs_greedy() -> None:
    assert simple_evaluate("aime_gen_test_greedy", right=1)["greedy"] == 1
    assert simple_evaluate("aime_gen_test_greedy", right=0)["greedy"] == 0


def test_every_split_has_both_tasks_and_the_filter_takes_all_repeats() -> None:
    index = TaskManager(include_path=str(TASKS), include_defaults=False).all_subtasks
    generated = {name for name in index if name.startswith("aime_gen_")}
    splits = ("train", "perturbed", "validation", "test", "heldout")
    assert generated == {f"aime_gen_{s}_{v}" for s in splits for v in ("k", "greedy")}


def test_every_sampled_task_scores_all_its_repeats() -> None:
    checked = 0
    for path in TASKS.glob("**/*.yaml"):
        repeats = re.search(r"repeats: (\d+)", text := path.read_text())
        taken = re.search(r"take_first_k, k: (\d+)", text)
        assert bool(repeats) == bool(taken), path
        if repeats and taken:
            assert repeats[1] == taken[1], path
            checked += 1
    assert checked == 17  # two generated sets, fourteen benchmarks, greedy


def test_an_unknown_preset_names_the_known_ones() -> None:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"data": "aime_gen_mino"})
    with pytest.raises(ValueError, match="aime_gen_mini"):
        manager.load(["aime_gen_test_k"])
