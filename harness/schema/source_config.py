"""The schema of problems of the user's own: columns and splits of a file or the hub. Imports no torch."""

from __future__ import annotations

import re
from typing import Any

from harness.schema.section import Check, Section, Used

MARK = "####"  # before the answer in GSM8K's solutions
OWN_SETS = ("jsonl", "hub", "function")  # rows of the user's own


class ColumnsConfig(Section):
    """Names that a file's or a hub data set's columns have there; null: the same as here."""

    problem: str | None = None
    """Column with the problem's text; null: problem, or question."""
    answer: str | None = None
    """Column with the reference answer."""
    id: str | None = None
    """Column with a name for each problem; without one they are numbered."""
    subject: str | None = None
    """Column with the topic."""
    level: str | None = None
    """Column with the difficulty, a whole number."""
    solution: str | None = None
    """Column with a worked solution."""
    split: str | None = None
    """Column with train, validation, test, heldout or perturbed; of a file or a function."""
    pair_id: str | None = None
    """Column with the id of the training problem that this one changes the numbers of."""
    exact: str | None = None
    """Column with true where the answer is a text to be given as it stands."""

    @property
    def given(self) -> dict[str, str]:
        """Our name -> theirs, where they differ."""
        return self.model_dump(exclude_none=True)


class HubSplitsConfig(Section):
    """Splits of a hub data set that are taken for ours; null: the one of the same name."""

    train: str | None = None
    """Split to train on."""
    validation: str | None = None
    """Split to choose by; where there is none, a tenth of the training problems."""
    test: str | None = None
    """Split to report."""
    heldout: str | None = None
    """Split of another kind of problems."""
    perturbed: str | None = None
    """Split with other numbers; its rows name their training problem in `pair_id`."""


def fault_of_pattern(pattern: str) -> str:
    """What is wrong with a regular expression of `answer_pattern`; "" where nothing is."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        return f"no regular expression ({error})"
    return f"it has {groups} groups; mark the answer with one, others as (?:...)" if groups > 1 else ""


def renamed(row: dict[str, Any], columns: ColumnsConfig, pattern: str | None) -> dict[str, Any] | str:
    """A row under our names, and of its answer the part that `pattern` finds last; a text says what is wrong.

    The whole text that the answer was found in is the solution, unless a column holds one.
    """
    found = dict(row)
    for ours, theirs in columns.given.items():
        if theirs not in row:
            return f"no column {theirs} (data.columns.{ours}); it has {', '.join(map(str, row))}"
        found[ours] = row[theirs]
    if columns.subject is not None:
        found.pop("topic", None)
    if not isinstance(answer := found.get("answer"), str) or (pattern is None and MARK not in answer):
        return found
    if pattern is None:
        return f'its answer is a solution that ends in "{MARK} ..."; set data.answer_pattern="{MARK} (.+)"'
    matches = list(re.finditer(pattern, answer))
    if not matches:
        return f"data.answer_pattern={pattern} is nowhere in its answer; mend the row or the pattern"
    match = matches[-1]
    found["answer"] = (match.group(1) if match.re.groups else match.group()) or ""
    return {"solution": answer, **found}


# What a DataConfig with rows of the user's own can get wrong, and which of its settings are read.
OWN_CHECKS: tuple[Check[Any], ...] = (
    Check(
        lambda c: c.dataset == "hub" and c.hub_id is None,
        "hub_id=null with dataset=hub; give the data set: data.hub_id=owner/name",
    ),
    Check(
        lambda c: c.dataset == "function" and c.function is None,
        "function=null with dataset=function; give it: data.function.path=problems.py:rows",
    ),
    Check(lambda c: c.fault_of_pattern, "answer_pattern={c.answer_pattern}: {c.fault_of_pattern}"),
    Check(
        lambda c: c.dataset == "hub" and c.columns.split,
        "columns.split={c.columns.split} with dataset=hub, whose splits have names: data.hub_splits",
    ),
)
OWN_USED: tuple[Used[Any], ...] = (
    Used(
        ("hub_id", "hub_config", "hub_revision", "hub_splits"),
        lambda c, run: c.dataset == "hub",
        "dataset={c.dataset} is not of the hub; add data=hub, or leave it out",
    ),
    Used(
        ("function",),
        lambda c, run: c.dataset == "function",
        "dataset={c.dataset} calls none; add data=function, or leave it out",
    ),
    Used(
        ("columns", "answer_pattern"),
        lambda c, run: c.is_own,
        "dataset={c.dataset} has its own; they are of data=jsonl, hub and function",
    ),
)
