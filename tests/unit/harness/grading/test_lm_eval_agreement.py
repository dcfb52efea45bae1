r"""Our grader beside the two built-in filters of lm-eval's gsm8k, on the same 989 saved completions.

With the filter's own rule and comparison:

    strict-match      rules=("hashes",)                    989 agree (100 %)
    flexible-extract  rules=("final_number",), as a text   979 agree (99.0 %)

With the grader's default rules, which look for a box and for "the answer is" first and compare numbers:

    strict-match      567 agree (57.3 %): it finds nothing without `####`, which 422 right answers lack
    flexible-extract  939 agree (94.9 %)

Every disagreement is in outputs/reference/lm_eval_agreement/disagreements.csv with class and who is right,
by the labels of the completions where they have one, else by the answer they state:

    no_mark        right, without `####`: the grader is right
    later_number   lm-eval takes the last number, after the box ("7 dozens of eggs in 4 weeks"): the grader is
    decimal        lm-eval compares text, and 16.0 is not 16: the grader is right
    dollar         lm-eval takes the "$." that closes a formula for a number: the grader is right
    comma          as a text 6,250 is not 6250: lm-eval, which drops commas, is right
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

from harness.grading.find.extraction import DEFAULT_RULES
from harness.grading.grade import grade

MATH_DATA_DIR = os.environ.get("MATH_DATA_DIR")
REFERENCE = Path(__file__).resolve().parents[4] / "outputs" / "reference"
pytestmark = pytest.mark.skipif(MATH_DATA_DIR is None, reason="MATH_DATA_DIR is not set")


class Case(NamedTuple):
    id: str
    completion: str
    reference: str
    correct: bool | None


def gsm8k_task() -> dict[str, Any]:
    """The filters and the metric as lm-eval's own gsm8k.yaml has them."""
    import lm_eval
    import yaml

    path = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def lm_eval_says(name: str, cases: list[Case]) -> list[tuple[bool, str]]:
    """(right, extracted) of each completion by the named filter and exact_match."""
    task = gsm8k_task()
    (regex,) = [f["filter"][0] for f in task["filter_list"] if f["name"] == name]
    assert regex.pop("function") == "regex"
    extracted = [found[0] for found in RegexFilter(**regex).apply([[c.completion] for c in cases], [{}])]
    (metric,) = task["metric_list"]
    options = {key: metric[key] for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    scores = [
        exact_match_hf_evaluate([text], [f"#### {case.reference}"], **options)["exact_match"]
        for text, case in zip(extracted, cases, strict=True)
    ]
    return [(bool(score), text) for score, text in zip(scores, extracted, strict=True)]


def saved() -> dict[str, list[Case]]:
    """By source: openai and tora (graded completions), smollm2 (letters masked, of the step labels)."""
    assert MATH_DATA_DIR is not None
    found: dict[str, list[Case]] = {"openai": [], "microsoft": [], "smollm2": []}
    for line in (Path(MATH_DATA_DIR) / "grader_cases_dev.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (source := row["source"].split("/")[0]) in found:
            found[source].append(Case(row["id"], row["completion"], row["reference"], row["correct"]))
    test = (Path(MATH_DATA_DIR) / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["id"]: row["answer"] for row in map(json.loads, test)}
    for line in (REFERENCE / "step_check" / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "masked" in row:
            answer = answers[row["id"].split("-", 2)[2]]
            found["smollm2"].append(Case(row["id"], row["masked"], answer, None))
    return found


TEXT = {"rules": ("final_number",), "exact": True}
COMPARISONS = {
    ("strict-match", "same"): ({"rules": ("hashes",)}, 989),
    ("flexible-extract", "same"): (TEXT, 979),
    ("strict-match", "default"): ({"rules": DEFAULT_RULES}, 567),
    ("flexible-extract", "default"): ({"rules": DEFAULT_RULES}, 939),
}


def classify(case: Case, extracted: str) -> str:
    if extracted == "[invalid]":
        return "no_mark"
    if "$" in extracted:
        return "dollar"
    if "," in extracted:
        return "comma"
    number = extracted.rstrip(".")
    return "decimal" if number.endswith(".0") and number[:-2] == case.reference else "later_number"


def disagreements(name: str, setting: str) -> tuple[int, list[list[str]]]:
    """How many agree, and id, filter, setting, class and who is right of each that does not."""
    options, _ = COMPARISONS[name, setting]
    cases = [case for source in saved().values() for case in source]
    rows = []
    for case, (right, extracted) in zip(cases, lm_eval_says(name, cases), strict=True):
        ours = grade(case.completion, case.reference, **options).correct
        if ours != right:
            truth = (
                case.correct if case.correct is not None else grade(case.completion, case.reference).correct
            )
            who = "grader" if ours == truth else "lm-eval"
            rows.append([case.id, name, setting, classify(case, extracted), who])
    return len(cases) - len(rows), rows


@pytest.mark.parametrize(("name", "setting"), COMPARISONS)
def test_agreement_and_every_disagreement_as_listed(name: str, setting: str) -> None:
    agreed, rows = disagreements(name, setting)
    assert agreed == COMPARISONS[name, setting][1]
    if setting == "same":
        assert agreed >= 0.98 * (agreed + len(rows))  # the target
    with (REFERENCE / "lm_eval_agreement" / "disagreements.csv").open(encoding="utf-8") as file:
        header, *listed = csv.reader(file)
    assert header == ["id", "filter", "setting", "class", "who_is_right"]
    assert sorted(rows) == [row for row in listed if row[1:3] == [name, setting]]
    assert {(row[3], row[4]) for row in rows} <= {
        *((kind, "grader") for kind in ("no_mark", "later_number", "decimal", "dollar")),
        ("comma", "lm-eval"),
    }


def test_in_the_format_of_the_task_all_agree_with_the_default_rules() -> None:
    """The line `A: 42` of OpenAI's completions becomes `#### 42`; SmolLM2's few-shot ones are so already."""
    cases = saved()
    marked = [c._replace(completion=c.completion.replace("\nA: ", "\n#### ")) for c in cases["openai"]]
    marked += [c for c in cases["smollm2"] if c.id.startswith("smol-fewshot")]
    ours = [grade(c.completion, c.reference).correct for c in marked]
    assert len(marked) == 611 and 200 < sum(ours) < 400
    for name in ("strict-match", "flexible-extract"):
        assert ours == [right for right, _ in lm_eval_says(name, marked)]
