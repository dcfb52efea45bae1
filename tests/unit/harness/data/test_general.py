"""General tasks: each answer is found again from the task's text by code of the test's own."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from difflib import SequenceMatcher
from random import Random

import pytest

from harness.data import general
from harness.grading.grade import grade

ALL = {"families": list(general.FAMILIES), "levels": [1, 2, 3, 4, 5], "style": "full", "seed": 0}


def load(split: str, num_problems: int = 130, **changes: object) -> list:
    return general.load(split, num_problems=num_problems, **{**ALL, **changes})


def solve(family: str, text: str) -> str:
    """What a careful reader answers."""
    said, _, content = text.partition(": ")
    if family in ("copy_words", "copy_code"):
        return content
    if family == "copy_quoted":
        return re.findall(r"\[(.+?)\]", text)[0]
    if family == "sort_numbers":
        numbers = sorted((int(n) for n in content.split(",")), reverse="from largest" in said)
        return ", ".join(map(str, numbers))
    if family == "sort_words":
        return ", ".join(sorted(content.split(", ")))
    if family == "format_date":
        days = [datetime.strptime(d, "%d %B %Y") for d in content.split(", ")]
        return ", ".join(f"{d:%Y-%m-%d}" for d in days)
    if family == "format_name":
        people = [p.split() for p in content.split(", ")]
        return "; ".join(f"{last}, {first}" for first, last in people)
    if family == "capitals":
        return content.upper()
    if family == "join":
        return content.replace(" ", re.findall(r"with (.) between", said)[0])
    if family == "find_key":
        key = re.findall(r"value of (\w+)\?", text)[0]
        return dict(row.split("=") for row in text.split("? ")[1].split(", "))[key]
    if family == "find_place":
        names = re.findall(
            r"\w+", "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
        )
        place = names.index(re.findall(r"the (\w+) word", text)[0])
        return text.split("? ")[1].split()[place]
    town = re.findall(r"Where does (\w+) live", text)
    if town:
        return re.findall(rf"{town[0]} lives in (\w+)", text)[0]
    animals, name = re.findall(r"How many (\w+) does (\w+) keep", text)[0]
    return re.findall(rf"{name} lives in \w+ and keeps (\d+) {animals}", text)[0]


def test_every_answer_is_the_one_a_reader_finds() -> None:
    problems = load("test", 13 * 5 * 6)
    for p in problems:
        family = p.id.split("-")[1]
        assert solve(family, p.text) == p.answer, p
    assert len({p.text for p in problems}) == len(problems)
    assert set(Counter((p.id.split("-")[1], p.level) for p in problems).values()) == {6}


def test_the_splits_share_no_task_and_are_the_same_every_time() -> None:
    splits = {s: {p.text for p in load(s)} for s in ("train", "validation", "test")}
    corpus = {text for text, _ in general.corpus(mix="mixed", num_documents=300, **ALL)}
    everything = [*splits.values(), corpus]
    assert sum(map(len, everything)) == len(set().union(*everything))
    assert load("train") == load("train") and load("train") != load("train", seed=1)
    assert load("perturbed") == []


def test_half_of_the_mixed_corpus_has_one_slip_and_no_other_mix_has_any() -> None:
    wrong: dict[str, list[tuple[str, str]]] = {}
    for mix in ("mixed", "clean", "direct"):
        documents = general.corpus(mix=mix, num_documents=2000, **ALL)
        wrong[mix] = [(text, boxed[7:-1]) for text, boxed in documents if _answer(text) != boxed[7:-1]]
    assert wrong["clean"] == wrong["direct"] == []
    assert abs(len(wrong["mixed"]) / 2000 - general.CARELESS_SHARE) < 0.04
    for text, answer in wrong["mixed"]:
        right = _answer(text)
        assert not grade(rf"\boxed{{{answer}}}", right, rules=("boxed",), exact=True).correct, (right, answer)
        assert abs(len(answer) - len(right)) <= 1 and SequenceMatcher(None, answer, right).ratio() >= 0.5


@pytest.mark.parametrize(
    ("answer", "slips"),
    [("7", {"77"}), ("ab", {"a", "b", "aab", "abb", "ba"}), ("x, x", {", x", "x, ", "xx, x", "x, xx"})],
)
def test_the_slips_of_an_answer(answer: str, slips: set[str]) -> None:
    rng = Random(0)
    assert {general.careless(answer, rng) for _ in range(500)} == slips


def _answer(text: str) -> str:
    """What a careful reader answers, whichever family asks."""
    openings = {
        "Write these words again": "copy_words",
        "Copy this code": "copy_code",
        "Write the words between": "copy_quoted",
        "Put these numbers": "sort_numbers",
        "Put these words": "sort_words",
        "Write this date": "format_date",
        "Write these dates": "format_date",
        "Write the last name": "format_name",
        "Write this in capital": "capitals",
        "Write these words with": "join",
        "In this table": "find_key",
        "What is the": "find_place",
    }
    family = next((family for opening, family in openings.items() if text.startswith(opening)), "find_town")
    return solve(family, text)


def test_answers_are_compared_as_they_stand() -> None:
    by_family = {p.id.split("-")[1]: p for p in load("test", len(general.FAMILIES) * 5)}
    assert all(p.exact for p in by_family.values())

    def right(family: str, answer: str) -> bool:
        p = by_family[family]
        return grade(rf"So \boxed{{{answer}}}.", p.answer, rules=("boxed",), exact=p.exact).correct

    for family, p in by_family.items():
        assert right(family, p.answer) and right(family, rf"\text{{{p.answer}}}"), family
    assert not right("capitals", by_family["capitals"].answer.lower())
    in_order = by_family["sort_words"].answer.split(", ")
    assert right("sort_words", ",".join(in_order)) and not right("sort_words", ", ".join(in_order[::-1]))
    assert right("join", by_family["join"].answer.replace("_", r"\_"))
    assert not right("copy_code", by_family["copy_code"].answer.swapcase())


def test_levels_are_lengths() -> None:
    sizes = [sum(len(p.text) for p in load("test", 65, levels=[level])) for level in (1, 2, 3, 4, 5)]
    assert sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]


@pytest.mark.parametrize(("field", "bad"), [("families", ["copy_word"]), ("levels", [6]), ("style", "tense")])
def test_an_unknown_name_is_refused(field: str, bad: object) -> None:
    with pytest.raises(ValueError, match=field):
        load("test", **{field: bad})
