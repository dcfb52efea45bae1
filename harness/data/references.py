r"""A problem's own solution as a completion: natural or its calculations alone, plain or in R1's format.

GSM8K's "He has 48/2 = <<48/2=24>>24.\n#### 24", under a prompt that ends in a line break:

    natural, plain     He has 48/2 = 24.\n#### 24
    equations, plain   48/2=24\n#### 24
    answer, plain      #### 24
    natural, r1        <think> He has 48/2 = 24. </think> <answer> 24 </answer>

The answer stands in a box where the prompt asks for one, or where the rules read no `####` (plain) or no
`<answer>` (r1) without it. A solution that boxes its answer itself, as MATH's do, stays as it is. A
derivation ends in a box, `17*23=391;391 mod 7=6;\boxed{6}`, which R1's format leaves out of the thought.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness.data.load import load_split
from harness.schema.offline_config import Form, Format
from harness.schema.prompts import CHAT, TEMPLATES
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Problem

_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_MARK = "####"  # before the answer of a GSM8K solution
_BOX_ALONE = re.compile(r"(?:^|;)\\boxed\{(?P<answer>[^{}]*)\}$")  # a step of its own, as derivations end

NO_EQUATIONS = "without <<...>> annotations"
NO_ANSWER = "whose last equation is not the answer"
NO_DERIVATION = "with an answer alone"


@dataclass(frozen=True, slots=True)
class Style:
    """How solutions are written: settings of the objective, the data and the prompt.

    `opened`: the prompt ends with `<think>`, which the completion then leaves out.
    """

    form: Form
    format: Format
    template: str
    rules: tuple[str, ...]
    opened: bool = False


class Unusable(ValueError):
    """A solution that has no such form; the message completes "solutions ..."."""


def reference(problem: Problem, style: Style) -> str:
    """The completion. Raises Unusable where the solution has no such form."""
    thought, closing = _derivation(problem, style)
    if style.format == "plain":
        return _space(style) + thought + closing
    if not thought.strip():
        raise Unusable(NO_DERIVATION)
    answer = problem.answer
    if _asks_for_box(style) or "answer_tag" not in style.rules:
        answer = rf"\boxed{{{answer}}}"
    text = f"<think> {thought} </think> <answer> {answer} </answer>"
    return text.removeprefix("<think>") if style.opened else _space(style) + text


def references(problems: Sequence[Problem], style: Style) -> tuple[list[tuple[Problem, str]], Counter[str]]:
    """(problem, completion) of each usable solution, and counts of the others by what they are.

    Raises ValueError, one line, for a problem without a solution, and where no solution is usable.
    """
    missing = [p for p in problems if not (p.solution or "").strip()]
    where = "objective.offline.sampler=reference"
    if missing:
        raise ValueError(
            f"{where}: {len(missing)} of {len(problems)} training problems have no solution (the first: "
            f"{missing[0].id}); give each a `solution`, choose other data, or use sampler=base"
        )
    made, unusable = [], Counter[str]()
    for problem in problems:
        try:
            made.append((problem, reference(problem, style)))
        except Unusable as error:
            unusable[str(error)] += 1
    if not made:
        why = ", ".join(f"{number} {reason}" for reason, number in unusable.items())
        setting = "form=natural" if style.form == "equations" else "format=plain"
        raise ValueError(
            f"{where} with form={style.form}, format={style.format}: no solution can be written so ({why}); "
            f"use {setting}, or other data"
        )
    return made, unusable


def style_of(config: RunConfig, *, opened: bool = False) -> Style:
    """How a run writes solutions; `opened` is the tokenizer's to say."""
    offline, data = config.objective.offline, config.data
    assert offline is not None
    return Style(offline.form, offline.format, data.template, tuple(data.answer_rules), opened)


def check_references(config: RunConfig) -> list[str]:
    """One line for each kind of solution that cannot be trained on; none for a run without references.

    Raises ConfigError, one line, for a problem without a solution, and where no solution is usable.
    """
    if not config.objective.uses_references:
        return []
    problems, style = load_split(config.data, "train"), style_of(config)
    try:
        _, unusable = references(problems, style)
    except ValueError as error:
        raise ConfigError(f"data={config.data.name}: {error}") from None
    return [
        f"data={config.data.name}: {number} of {len(problems)} solutions {reason} are left out of training "
        f"(objective.offline.form={style.form}, format={style.format})"
        for reason, number in unusable.items()
    ]


def _derivation(problem: Problem, style: Style) -> tuple[str, str]:
    """(derivation, what follows it in the plain format: nothing where it states the answer already)."""
    solution = (problem.solution or "").strip()
    if style.form == "answer":
        return "", _stated(problem, style)
    if style.form == "equations":
        return _equations(problem, solution), "\n" + _stated(problem, style)
    if _MARK in solution:
        body = _ANNOTATION.sub("", solution.rpartition(_MARK)[0]).strip()
        return body, "\n" * bool(body) + _stated(problem, style)
    last = _BOX_ALONE.search(solution)
    if last is not None and last["answer"] == problem.answer:
        return solution[: last.start()], solution[last.start() :]
    return solution, ""


def _equations(problem: Problem, solution: str) -> str:
    """The annotated calculations, one a line. Raises Unusable without any, or if the last is no answer."""
    found = _ANNOTATION.findall(solution)
    if not found:
        raise Unusable(NO_EQUATIONS)
    if _number(found[-1][1]) is None or _number(found[-1][1]) != _number(problem.answer):
        raise Unusable(NO_ANSWER)
    return "\n".join(f"{left.strip()}={right.strip()}" for left, right in found)


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.replace(",", "").strip().rstrip("."))
    except (ValueError, ZeroDivisionError):
        return None


def _stated(problem: Problem, style: Style) -> str:
    boxed = _asks_for_box(style) or "hashes" not in style.rules
    return rf"\boxed{{{problem.answer}}}" if boxed else f"{_MARK} {problem.answer}"


def _asks_for_box(style: Style) -> bool:
    return r"\boxed{}" in TEMPLATES[style.template]


def _space(style: Style) -> str:
    """A blank between `Answer:` and the completion; none after a line break or in a chat."""
    return "" if style.template in CHAT or TEMPLATES[style.template][-1].isspace() else " "
