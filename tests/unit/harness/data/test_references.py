"""Solutions as completions, by hand and on the real files; no problem text is kept here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.data import gsm8k, hendrycks_math
from harness.data.aime_gen import load as generated
from harness.data.general import load as general
from harness.data.perturb import training_twins
from harness.data.references import (
    NO_ANSWER,
    NO_DERIVATION,
    NO_EQUATIONS,
    Style,
    Unusable,
    check_references,
    reference,
    references,
)
from harness.grading.find.extraction import DEFAULT_RULES
from harness.grading.grade import grade
from harness.launch.compose import Composer
from harness.launch.run import main
from harness.schema.run_config import config_warnings
from harness.schema.unread import unread
from harness.types import Problem

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
RULES = ("boxed", "answer_tag", "hashes")
CLIPS = "She sold 48/2 = <<48/2=24>>24 in May.\nThat makes 48+24 = <<48+24=72>>72.\n#### 72"
BOXED = r"As $x=3$, we get $2x=\boxed{6}$."
STEPS = r"17*23=391;391 mod 7=6;\boxed{6}"


def problem(solution: str | None, answer: str) -> Problem:
    return Problem("p", "d", "train", "text", answer, solution=solution)


def style(form: str = "natural", format: str = "plain", template: str = "question", **fields) -> Style:
    return Style(form, format, template, fields.pop("rules", RULES), **fields)


@pytest.mark.parametrize(
    ("form", "format", "template", "expected"),
    [
        ("natural", "plain", "question", "She sold 48/2 = 24 in May.\nThat makes 48+24 = 72.\n#### 72"),
        ("equations", "plain", "question", "48/2=24\n48+24=72\n#### 72"),
        ("answer", "plain", "question", "#### 72"),
        ("answer", "plain", "question_answer", " #### 72"),
        ("answer", "plain", "boxed_answer", "\\boxed{72}"),
        # A blank after `Answer:` and `Assistant:`, none in a chat; a box where the prompt asks for one.
        ("equations", "plain", "question_answer", " 48/2=24\n48+24=72\n#### 72"),
        ("equations", "plain", "boxed_answer", "48/2=24\n48+24=72\n\\boxed{72}"),
        ("equations", "plain", "chat", "48/2=24\n48+24=72\n\\boxed{72}"),
        ("equations", "plain", "r1_zero", " 48/2=24\n48+24=72\n\\boxed{72}"),
        (
            *("equations", "r1", "question"),
            "<think> 48/2=24\n48+24=72 </think> <answer> 72 </answer>",
        ),
        (
            *("equations", "r1", "r1_zero"),
            " <think> 48/2=24\n48+24=72 </think> <answer> \\boxed{72} </answer>",
        ),
    ],
)
def test_a_solution_of_gsm8k(form: str, format: str, template: str, expected: str) -> None:
    assert reference(problem(CLIPS, "72"), style(form, format, template)) == expected


@pytest.mark.parametrize(
    ("solution", "format", "expected"),
    [
        (BOXED, "plain", BOXED),
        (BOXED, "r1", rf"<think> {BOXED} </think> <answer> 6 </answer>"),
        (STEPS, "plain", STEPS),  # to the letter what a ladder model is pretrained on
        (STEPS, "r1", "<think> 17*23=391;391 mod 7=6 </think> <answer> 6 </answer>"),
        (r"so $x = \boxed{6}", "r1", r"<think> so $x = \boxed{6} </think> <answer> 6 </answer>"),
        ("#### 6", "plain", "#### 6"),
        (r"\boxed{6}", "plain", r"\boxed{6}"),
    ],
)
def test_a_solution_that_boxes_its_answer(solution: str, format: str, expected: str) -> None:
    assert reference(problem(solution, "6"), style(format=format)) == expected


def test_the_answer_stands_where_the_rules_look_for_it() -> None:
    assert reference(problem(CLIPS, "72"), style("equations", rules=("boxed",))).endswith("\n\\boxed{72}")
    thought = reference(problem(CLIPS, "72"), style("equations", "r1", rules=("boxed",)))
    assert thought.endswith(r"<answer> \boxed{72} </answer>")


def test_a_prompt_that_opens_the_thought_is_gone_on_from() -> None:
    found = reference(problem(CLIPS, "72"), style("equations", "r1", "chat", opened=True))
    assert found == " 48/2=24\n48+24=72 </think> <answer> \\boxed{72} </answer>"


@pytest.mark.parametrize(
    ("solution", "answer", "form", "format", "reason"),
    [
        (BOXED, "6", "equations", "plain", NO_EQUATIONS),
        ("<<2+2=4>>4, and one more is 5\n#### 5", "5", "equations", "plain", NO_ANSWER),
        ("<<1/2=1/0>>\n#### 5", "5", "equations", "plain", NO_ANSWER),
        (r"\boxed{6}", "6", "natural", "r1", NO_DERIVATION),
        ("#### 6", "6", "natural", "r1", NO_DERIVATION),
        (STEPS, "6", "answer", "r1", NO_DERIVATION),
    ],
)
def test_a_solution_without_such_a_form(
    solution: str, answer: str, form: str, format: str, reason: str
) -> None:
    with pytest.raises(Unusable, match=f"^{reason}$"):
        reference(problem(solution, answer), style(form, format))


def test_the_last_equation_is_compared_as_a_number() -> None:
    for last in ("72.0", "72.", "72"):
        found = reference(problem(f"<<48+24={last}>>\n#### 72", "72"), style("equations"))
        assert found == f"48+24={last}\n#### 72"


def test_unusable_solutions_are_counted_and_missing_ones_are_an_error() -> None:
    good, bad, none = problem(CLIPS, "72"), problem(BOXED, "6"), problem(" ", "6")
    made, unusable = references([bad, good, bad], style("equations"))
    assert [p for p, _ in made] == [good] and unusable == {NO_EQUATIONS: 2}
    with pytest.raises(ValueError, match=r"1 of 2 training problems have no solution \(the first: p\)"):
        references([good, none], style())
    with pytest.raises(
        ValueError, match=r"form=equations.*\(1 without <<\.\.\.>> annotations\); use form=nat"
    ):
        references([bad], style("equations"))


def test_every_generated_derivation_is_graded_right_in_both_formats() -> None:
    asked = {"num_problems": 60, "style": "terse", "seed": 0}
    families = ["remainder", "gcd", "divisors", "polynomial", "digit_sum"]
    for found in generated("train", families=families, levels=[1, 2, 3], **asked):
        plain, r1 = (reference(found, style(format=f, rules=("boxed",))) for f in ("plain", "r1"))
        assert plain == found.solution
        steps = plain.removesuffix(rf";\boxed{{{found.answer}}}")
        assert r1 == rf"<think> {steps} </think> <answer> \boxed{{{found.answer}}} </answer>"
        assert steps and "boxed" not in steps
        assert grade(plain, found.answer, rules=("boxed",)).correct
        assert grade(r1, found.answer, rules=("boxed",)).correct


def test_general_tasks_have_an_answer_and_no_thought() -> None:
    tasks = general(
        "train", num_problems=6, families=["sort_words", "join"], levels=[1], style="full", seed=0
    )
    for task in tasks:
        assert grade(reference(task, style()), task.answer, rules=("boxed",), exact=True).correct
        with pytest.raises(Unusable):
            reference(task, style(format="r1"))


def run(rows: list[dict], tmp_path: Path, *lines: str) -> list[str]:
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"split": "train", **row}) for row in rows))
    return [
        *("experiment=smoke", "data=jsonl", "objective=cold_start", "objective.reward.inverted=0"),
        *("data.answer_range=null", "data.num_train=null", f"data.path={path}", f"output_dir={tmp_path}"),
        *lines,
    ]


def test_a_launch_without_solutions_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a", "problem": "1+1", "answer": "2", "solution": CLIPS}, {"problem": "x", "answer": "2"}]
    lines = run(rows, tmp_path, "data.families=[gcd]", "data.levels=[1]", "eval.splits=[train]")
    assert main([*lines, "--config"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: data=jsonl: objective.offline.sampler=reference: 1 of 2 training problems")
    assert "\n" not in said and "no solution" in said
    assert not list(tmp_path.glob("**/run.json"))


def test_what_is_left_out_is_said_before_the_run(tmp_path: Path) -> None:
    rows = [
        {"problem": "a", "answer": "72", "solution": CLIPS},
        {"problem": "b", "answer": "6", "solution": BOXED},
    ]
    config = Composer().config(run(rows, tmp_path, "objective.offline.form=equations"))
    (line,) = check_references(config)
    assert line.startswith(
        "data=jsonl: 1 of 2 solutions without <<...>> annotations are left out of training"
    )
    assert check_references(Composer().config(["objective=sft_rejection_offline"])) == []


def test_the_cold_start_of_a_pretrained_model_composes() -> None:
    config = Composer().config(["experiment=smollm2_cold_start"])
    offline = config.objective.offline
    assert offline is not None and config.objective.uses_references
    assert (offline.form, offline.format, config.data.template) == ("equations", "plain", "question_answer")
    assert config.eval.splits == ["validation", "validation_perturbed"] and config.data.perturb_draws == 20
    assert config_warnings(config) == [] and unread([config]) == []


@needs_data
def test_gsm8ks_solutions_are_graded_right() -> None:
    """Counts of the official file, 7,473 problems: 7,001 end in an equation that is the answer (93.7 %)."""
    problems = gsm8k.TRAIN.load("train", [])
    made, unusable = references(problems, Style("equations", "plain", "question_answer", DEFAULT_RULES))
    assert len(made) == 7001 and unusable == {NO_EQUATIONS: 95, NO_ANSWER: 377}
    assert all(grade(text, p.answer).correct for p, text in made)
    natural, _ = references(problems, Style("natural", "plain", "question_answer", DEFAULT_RULES))
    right = sum(grade(text, p.answer).correct for p, text in natural)
    assert len(natural) == 7473 and right >= 7465  # a few state a number as the answer before the last line
    assert not any("<<" in text for _, text in natural)


@needs_data
@pytest.mark.parametrize("form", ["natural", "equations"])
@pytest.mark.parametrize("format", ["plain", "r1"])
def test_every_twins_solution_is_graded_right(form: str, format: str) -> None:
    """All of them, by the grader of rewards and evaluation."""
    twins = [twin for p in gsm8k.load("train")[:1500] for twin in training_twins(p, 3)]
    made, unusable = references(twins, style(form, format, "question_answer", rules=DEFAULT_RULES))
    assert len(twins) > 1500 and len(made) == len(twins) and not unusable
    assert [p.id for p, text in made if not grade(text, p.answer, use_symbolic=False).correct] == []


@needs_data
def test_maths_solutions_are_graded_right() -> None:
    """All but those that box two answers, of which the data's reference is the last alone."""
    problems = hendrycks_math.load("train", bad_rows=[])
    made, unusable = references(problems, Style("natural", "plain", "boxed_answer", DEFAULT_RULES))
    wrong = [p for p, text in made if not grade(text, p.answer).correct]
    assert len(made) == len(problems) > 6700 and not unusable
    assert len(wrong) <= 15 and all((p.solution or "").count(r"\boxed") != 1 for p in wrong)
    thoughts, _ = references(problems, Style("natural", "r1", "r1_zero", DEFAULT_RULES))
    assert all(grade(text, p.answer).correct for p, text in thoughts)


def test_an_answer_alone_is_what_a_memoriser_of_composites_learns() -> None:
    from harness.data import aime_gen

    found = aime_gen.load("train", num_problems=6, families=["digits_mod"], levels=[1], style="terse", seed=0)
    asked = {"rules": ("boxed",)}
    for one in found:
        assert reference(one, style("answer", **asked)) == rf"\boxed{{{one.answer}}}"
        assert reference(one, style("natural", **asked)) == one.solution
