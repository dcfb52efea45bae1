from __future__ import annotations

from typing import Any

import pytest

from harness.objectives.rewards import REWARDS, score, weighted_sum
from harness.types import FinishReason, Grade, Problem, Rollout
from tests.unit.harness.tiny import configure

RIGHT, WRONG, NONE = Grade(True, "4", ""), Grade(False, "5", ""), Grade(False, None, "")


def reward(
    name: str,
    *,
    text: str = "",
    num_tokens: int = 0,
    grade: Grade = RIGHT,
    sample: int = 0,
    step: int = 0,
    problem: str = "p",
    finish: FinishReason = "stop",
    **params: Any,
) -> float:
    return REWARDS[name](
        rollout=Rollout(problem, sample, (1,) * num_tokens, text, None, finish, step),
        grade=grade,
        problem=Problem(problem, "d", "train", "2+2", "4"),
        **params,
    )


def test_accuracy_and_inverted() -> None:
    assert [reward("accuracy", grade=g) for g in (RIGHT, WRONG, NONE)] == [1.0, 0.0, 0.0]
    assert [reward("inverted", grade=g) for g in (RIGHT, WRONG, NONE)] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("<think>2 and 2</think> \\boxed{4}", 1.0),
        ("\n<think>two\nlines</think>\n4\n", 1.0),
        ("<think>2 and 2</think>", 0.0),  # no answer
        ("<think> </think> 4", 0.0),  # no thought
        ("So <think>2</think> 4", 0.0),  # not first
        ("<think>2 4", 0.0),
        ("<think>a</think> <think>b</think> 4", 0.0),  # two pairs
        ("<think>a</think></think> 4", 0.0),
    ],
)
def test_format(text: str, expected: float) -> None:
    assert reward("format_r1", text=text) == expected
    assert reward("format_r1", text=text, grade=WRONG) == expected, (
        "the format does not ask for a right answer"
    )
    assert reward("format_r1", text=text, grade=NONE) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 and 2 are 4.\n</think>\n\\boxed{4}", 1.0),
        ("</think> 4", 0.0),  # no thought
        ("2 and 2</think>", 0.0),  # no answer
        ("2 and 2 are 4.", 0.0),
        ("<think>2 and 2</think> 4", 0.0),  # opened twice
    ],
)
def test_a_thought_that_the_prompt_opened_counts(text: str, expected: float) -> None:
    assert reward("format_r1", text=text, opened=True) == expected
    assert reward("format_r1", text=text) == (1.0 if text.startswith("<think>") else 0.0)


def test_the_share_of_tests_passed_is_the_grades() -> None:
    """Three of four tests: 0.75, though the program is not right."""
    assert reward("tests", grade=Grade(False, "x", "", 0.75)) == 0.75
    assert [reward("tests", grade=g) for g in (Grade(True, "x", "", 1.0), WRONG, NONE)] == [1.0, 0.0, 0.0]


def test_a_format_answer_ends_and_can_be_read_right_or_wrong() -> None:
    assert [reward("format_answer", grade=g) for g in (RIGHT, WRONG, NONE)] == [1.0, 1.0, 0.0]
    cut = [reward("format_answer", grade=g, finish="length") for g in (RIGHT, WRONG, NONE)]
    assert cut == [0.0, 0.0, 0.0]


def test_the_null_differs_from_its_arm_in_what_is_rewarded_alone() -> None:
    """And the rewards differ in whether the answer is right alone."""
    null, arm = (configure(f"objective={n}").objective.model_dump() for n in ("grpo_format_only", "grpo"))
    assert {k for k in null if null[k] != arm[k]} == {"name", "reward", "truncated"}
    arm = configure("objective=grpo", "objective.truncated=fail").objective.model_dump()
    assert {k for k in null if null[k] != arm[k]} == {"name", "reward"}
    for grade in (RIGHT, NONE):
        assert len({reward(name, grade=grade) for name in ("accuracy", "format_answer")}) == 1


def test_language_consistency_is_of_the_thought() -> None:
    text = "<think>we 加 them</think> 答案 4"  # we, 加, them: two of three
    assert reward("language_consistency", text=text, script="latin") == pytest.approx(2 / 3)
    assert reward("language_consistency", text=text, script="chinese") == pytest.approx(1 / 3)
    assert reward("language_consistency", text=text[7:], script="chinese", opened=True) == pytest.approx(
        1 / 3
    )
    assert reward("language_consistency", text=text, script="latin", grade=NONE) == pytest.approx(2 / 3)


def test_soft_overlong_is_linear_over_the_buffer() -> None:
    lengths = {0: 0.0, 80: 0.0, 85: -0.25, 90: -0.5, 100: -1.0, 130: -1.0}
    got = {n: reward("soft_overlong", num_tokens=n, max_tokens=100, buffer_tokens=20) for n in lengths}
    assert got == lengths


def test_length_penalty() -> None:
    assert reward("length_penalty", num_tokens=25, max_tokens=100) == -0.25


def test_random_is_fixed_fair_and_blind() -> None:
    draws = [
        reward("random", p=0.3, seed=0, problem=f"p{i}", sample=j, grade=RIGHT)
        for i in range(200)
        for j in range(10)
    ]
    # Binomial(2000, .3): mean .3, standard error .0102; four of them
    assert abs(sum(draws) / 2000 - 0.3) < 0.041
    blind = [
        reward("random", p=0.3, seed=0, problem=f"p{i}", sample=j, grade=WRONG, text="other")
        for i in range(200)
        for j in range(10)
    ]
    assert draws == blind
    for other in ({"seed": 1}, {"seed": 0, "step": 1}, {"seed": 0, "sample": 99}):
        changed = [reward("random", p=0.5, problem=f"p{i}", **other) for i in range(64)]
        assert changed != [reward("random", p=0.5, seed=0, problem=f"p{i}") for i in range(64)]


def test_terms_are_scored_apart_and_summed_by_weight() -> None:
    rollout = Rollout("p", 0, (1,) * 90, "<think>a</think> 4", None, "stop")
    parts = score(
        rollout=rollout,
        grade=RIGHT,
        problem=Problem("p", "d", "train", "2+2", "4"),
        terms={"accuracy": {}, "format_r1": {}, "soft_overlong": {"max_tokens": 100, "buffer_tokens": 20}},
    )
    assert parts == {"accuracy": 1.0, "format_r1": 1.0, "soft_overlong": -0.5}
    weights = {"accuracy": 1.0, "format_r1": 0.2, "soft_overlong": 2.0}
    assert weighted_sum(parts, weights=weights) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="rewards: unknown acuracy"):
        score(
            rollout=rollout, grade=RIGHT, problem=Problem("p", "d", "train", "", "4"), terms={"acuracy": {}}
        )
