"""The aggregations of the lm-eval tasks: numbers that strict JSON can hold, and no error of 0 at 0 of n."""

from __future__ import annotations

import json

import pytest

from tasks import scoring

DOC = {"answer": "72", "rules": ["boxed", "answer_is", "final_number"], "symbolic": False, "exact": False}


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.5], [0.0] * 3, [1.0] * 3, [0.5, 0.5], [0.0, 1.0]])
def test_what_they_give_is_strict_json(values: list[float]) -> None:
    for aggregated in (scoring.se_problems(values), scoring.se_sampling([v * (1 - v) for v in values])):
        assert json.loads(json.dumps(aggregated, allow_nan=False)) == aggregated


def test_all_wrong_has_wilsons_width() -> None:
    # 0 of 3: the upper end is z^2 / (3 + z^2) = 3.8415 / 6.8415 = 0.5615; half of it over 1.96
    for values in ([0.0] * 3, [1.0] * 3):
        assert scoring.se_problems(values) == pytest.approx(0.5615 / 2 / 1.96, abs=1e-4)
    assert scoring.se_problems([0.5, 0.5]) == 0.0 and scoring.se_problems([0.5]) == "N/A"
    assert scoring.se_problems([0.0, 1.0]) == pytest.approx(0.5)  # sd sqrt(1/2), over sqrt(2)
    assert scoring.se_sampling([0.0, 0.0]) == "N/A" and scoring.se_sampling([0.04, 0.0]) == pytest.approx(0.1)


def test_a_document_gives_its_contribution_though_its_samples_are_alike() -> None:
    values = scoring.sampled({**DOC, "template": "question"}, [[r"\boxed{72}", r"\boxed{72}"]])
    assert values["avg_at_k"] == 1.0 and values["avg_at_k_se_sampling"] == 0.0


def test_the_first_answer_of_a_run_on_text_is_scored() -> None:
    text = "The answer is 72.\n\nQuestion: What is 5+5?\nThe answer is 10."
    for template, right in (("question", 1.0), ("chat", 0.0)):
        assert scoring.greedy({**DOC, "template": template}, [[text]])["greedy"] == right
