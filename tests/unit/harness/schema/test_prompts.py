"""What a completion's own answer is: not that of a problem which a base model goes on with."""

from __future__ import annotations

import time

import pytest

from harness.grading.grade import grade
from harness.schema.prompts import own_answer

RUN_ON = [
    "A: 72\n\nQ: What is 5+5?\nA: 10",
    "6*12=72. The answer is 72.\nProblem: Ann has 5.\nThe answer is 10.",
    "So \\boxed{72}.\n\nProblem 2: What is 5+5?\nSo \\boxed{10}.",
    "6*12=72\n#### 72\n\n**Question:** What is 5+5?\n5+5=10\n#### 10",
    "<answer> 72 </answer>\nUser: What is 5+5?\nAssistant: <answer> 10 </answer>",
    "72\nQuestion: What is 5+5?\n10",
    "Question: as above\nAnswer: 72\n\nQuestion: What is 5+5?\nAnswer: 10",
]


@pytest.mark.parametrize("text", RUN_ON)
def test_the_first_answer_is_graded(text: str) -> None:
    for template in ("question", "question_answer", "boxed_answer", "r1_zero"):
        own = own_answer(text, template)
        assert text.startswith(own) and grade(own, "72").correct and not grade(own, "10").correct
    assert own_answer(text, "chat") == text


def test_a_bare_line_before_the_next_problem_is_an_answer() -> None:
    text = "### A72\n\nQuestion: What is 5+5?\nAnswer: 5+5=10\n### A10"
    assert own_answer(text, "question") == "### A72\n\n" and grade(text, "10").correct


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer: 72",
        "6*12=72\nAnswer: 72",
        "Answer: 6*12=72. The final answer is 72.",
        "Question: there are 6 boxes of 12.\nSolution: 6*12=72.\nAnswer: 72",
        "**Problem:** 6 boxes of 12\n\n**Answer:** 72",
        "Step 1: read it.\nProblem: 6 boxes of 12.\nThe answer is 72.",
        "I put the final answer within \\boxed{}.\nProblem: 6 boxes of 12.\n\\boxed{72}",
        "\\boxed{72} answers the question: 6 boxes of 12.",
        "The answer is 72. This problem: solved.",
    ],
)
def test_a_completion_with_one_answer_is_whole(text: str) -> None:
    assert own_answer(text, "question") == text


def test_hostile_text_costs_little() -> None:
    start = time.process_time()
    for piece in ("Question:\n", "A: 1\n", "answer ", "#### ", "1\n", "answer is"):
        own_answer(piece * (131_072 // len(piece)) + "\nQ:", "question")
    assert time.process_time() - start < 5.0
