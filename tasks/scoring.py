"""Scorers of the lm-eval tasks: a document's completions -> floats. The grader is harness.grading.grade.

A standard error is a metric of its own: a document gives its contribution and the aggregation finishes it,
`*_se_problems` (sd over problems / √P) and `*_se_sampling` (√Σ variances / P; these problems fixed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import stdev
from typing import Any

from analysis.stats.intervals import wilson
from analysis.stats.metrics import avg_at_k, maj_at_k, pass_at_k
from harness.grading.score import Score, score, votes
from harness.schema.prompts import own_answer


def sampled(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """n samples of one document (filter take_first_k), k = n: avg@k, pass@k, maj@k and shares of answers."""
    scores = _scores(doc, results[0])
    correct = [[s.correct for s in scores]]
    n = len(scores)
    estimates = {
        "avg_at_k": avg_at_k(correct),
        "pass_at_k": pass_at_k(correct, n),
        "maj_at_k": maj_at_k(correct, [votes(scores)], n),
    }
    values = {}
    for name, estimate in estimates.items():
        values[name] = values[f"{name}_se_problems"] = estimate.value
        if estimate.se_sampling is not None:
            values[f"{name}_se_sampling"] = estimate.se_sampling**2
    return {**values, **_shares(scores)}


def greedy(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """The one greedy completion of a document."""
    scores = _scores(doc, results[0])
    accuracy = sum(s.correct for s in scores) / len(scores)
    return {"greedy": accuracy, "greedy_se_problems": accuracy, **_shares(scores)}


def se_problems(values: Sequence[float]) -> float | str:
    """sd over problems / √P; "N/A", as lm-eval writes it, for one problem that is neither right nor wrong.

    Where all are wrong, or all right, half the width of Wilson's 95 % interval over 1.96.
    """
    if set(values) in ({0}, {1}):
        low, high = wilson(values[0], len(values))
        return (high - low) / (2 * 1.96)
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else "N/A"


def se_sampling(variances: Sequence[float]) -> float | str:
    """√Σ_i var_i / P, from each problem's sampling variance; "N/A" where the samples of none differ."""
    return sqrt(sum(variances)) / len(variances) if any(variances) else "N/A"


def _scores(doc: Mapping[str, Any], completions: Sequence[str]) -> list[Score]:
    rules = tuple(doc["rules"])
    texts = [own_answer(text or "", doc["template"]) for text in completions]  # an endpoint may say None
    asked = (doc["answer"], rules, doc["symbolic"], doc["exact"], doc.get("problem"))
    return [score(text, *asked) for text in texts]  # asked as the record does, so that each is graded once


def _shares(scores: Sequence[Score]) -> dict[str, float]:
    n = len(scores)
    return {
        "extracted_share": sum(s.extracted is not None for s in scores) / n,
        "direct_share": sum(not s.stepped for s in scores) / n,
    }
