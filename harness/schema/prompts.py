r"""Prompt templates: one table for training and evaluation alike.

A template is the text around a problem; `chat` and `chat_code` are a user's message, which the model's own
chat template then wraps. How a prompt becomes tokens, with its special ones, is the affair of
harness/model/files/codec.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, get_args

from harness.types import Problem, Prompt

TemplateName = Literal[
    "question", "question_answer", "boxed_answer", "r1_zero", "chat", "continuation", "code", "chat_code"
]

_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_CODE = "Answer with one block of Python code (```python) that defines all that is needed."
# Table 1 of arXiv:2501.12948; its rule-based reward reads the answer from a box, so the user asks for one.
_R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
    "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {problem}\nPut the final answer within \\boxed{}. Assistant:"
)
TEMPLATES: dict[str, str] = {
    "question": "{problem}\n",
    "question_answer": "Question: {problem}\nAnswer:",
    "boxed_answer": "{problem}\n" + _BOXED + "\n",
    "r1_zero": _R1_ZERO,
    "chat": "{problem}\n" + _BOXED,
    "continuation": "{problem}",
    "code": "{problem}\n" + _CODE + "\n",
    "chat_code": "{problem}\n" + _CODE,
}
CHAT = frozenset({"chat", "chat_code"})  # what is said to the model as a user, under its chat template
assert set(TEMPLATES) == set(get_args(TemplateName))


# A base model that has answered may go on with a problem of its own, in the form of few-shot prompts.
_NEXT = r"^[ \t#*>]*(?:Question|Problem|User|Q)[ \t]*\d{0,4}[ \t*]*:"
_NEXT_PROBLEM = re.compile(_NEXT, re.MULTILINE)
_ANSWERED = re.compile(
    r"\\boxed[ \t]*\{[ \t]*[^}\s]|</answer>|####[ \t]*\S|\banswer\b[^.\n]{0,40}?(?:\bis\b|:|=)[ \t*]*[^\s*]"
    r"|^[ \t*]*A[ \t*]*:[ \t*]*[^\s*]",
    re.IGNORECASE | re.MULTILINE,
)
# A line that is an answer and nothing else, right before the next problem: `### A72`.
_BARE_ANSWER = re.compile(
    rf"^[ \t#*]*(?:A(?:nswer)?)?[ \t:]*\$?[-−]?\d[\d.,/]*[^\w\n]*\n\s*(?P<next>{_NEXT})", re.MULTILINE
)


def own_answer(completion: str, template: str) -> str:
    """The completion up to where it goes on, after an answer, with another problem: what is graded.

    A completion of a chat is whole, and so is one that restates its problem before it answers.
    """
    if template in CHAT or _NEXT_PROBLEM.search(completion) is None:
        return completion
    answered = _ANSWERED.search(completion)
    following = answered and _NEXT_PROBLEM.search(completion, answered.end())
    bare = _BARE_ANSWER.search(completion)
    ends = [
        following.start() if following else len(completion),
        bare.start("next") if bare else len(completion),
    ]
    return completion[: min(ends)]


def render(text: str, template: str) -> str:
    return TEMPLATES[template].replace("{problem}", text)


def make_prompt(problem: Problem, template: str, encode: Callable[[str, str], list[int]]) -> Prompt:
    """`encode` is a codec's `prompt_ids`."""
    text = render(problem.text, template)
    return Prompt(problem.id, template, text, tuple(encode(text, template)))
