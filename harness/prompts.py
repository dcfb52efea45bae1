"""Prompt templates: one table for training and evaluation alike."""

from __future__ import annotations

from collections.abc import Callable

from harness.types import Problem, Prompt

TEMPLATES = {
    "question": "{problem}\n",
    "boxed_answer": "{problem}\nPlease reason step by step, and put your final answer within \\boxed{}.\n",
}


def render(text: str, template: str) -> str:
    return TEMPLATES[template].replace("{problem}", text)


def make_prompt(problem: Problem, template: str, encode: Callable[[str], list[int]]) -> Prompt:
    text = render(problem.text, template)
    return Prompt(problem.id, template, text, tuple(encode(text)))
