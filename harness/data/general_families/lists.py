"""Copying and sorting."""

from __future__ import annotations

import string
from random import Random

from harness.data.general_families.family import Family, Params, Stated, different, listed, word

_LENGTH = {1: 3, 2: 5, 3: 8, 4: 12, 5: 16}


# ---------------------------------------------------------------- words, again
def _draw_words(rng: Random, level: int) -> Params:
    return tuple(word(rng) for _ in range(_LENGTH[level]))


def _state_copy_words(params: Params) -> Stated:
    answer = " ".join(params)
    return Stated(
        answer, f"Write these words again, exactly as they stand: {answer}", f"copy {answer}", answer
    )


# ---------------------------------------------------------------- a code of letters, digits and signs
def _draw_code(rng: Random, level: int) -> Params:
    signs = string.ascii_letters + string.digits + "-"
    return ("".join(rng.choice(signs) for _ in range(2 * _LENGTH[level])),)


def _state_copy_code(params: Params) -> Stated:
    (code,) = params
    return Stated(
        code, f"Copy this code, capitals and small letters as they are: {code}", f"code {code}", code
    )


# ---------------------------------------------------------------- a part of a text
def _draw_quoted(rng: Random, level: int) -> Params:
    """(words before, words between the marks, words after), each joined."""
    return tuple(" ".join(word(rng) for _ in range(n)) for n in (2 + level, 1 + level, 2 + level))


def _state_copy_quoted(params: Params) -> Stated:
    before, between, after = params
    text = f"{before} [{between}] {after}"
    return Stated(text, f"Write the words between the square brackets: {text}", f"between {text}", between)


# ---------------------------------------------------------------- numbers in order
def _draw_numbers(rng: Random, level: int) -> Params:
    """The way, then different numbers."""
    numbers = different(rng, _LENGTH[level], lambda r: str(r.randint(0, 99 if level <= 2 else 9999)))
    return (rng.choice(("smallest to largest", "largest to smallest")), *numbers)


def _state_sort_numbers(params: Params) -> Stated:
    way, *numbers = params
    down = way.startswith("largest")
    ordered = sorted(numbers, key=int, reverse=down)
    return Stated(
        canonical=f"{way}:{listed(sorted(numbers, key=int))}",
        text=f"Put these numbers in order from {way}, with commas between them: {listed(numbers)}",
        terse=f"{'down' if down else 'up'} {listed(numbers)}",
        answer=listed(ordered),
    )


# ---------------------------------------------------------------- words in order
def _draw_different_words(rng: Random, level: int) -> Params:
    return tuple(different(rng, _LENGTH[level], word))


def _state_sort_words(params: Params) -> Stated:
    return Stated(
        canonical=listed(sorted(params)),
        text=f"Put these words in alphabetical order, with commas between them: {listed(params)}",
        terse=f"abc {listed(params)}",
        answer=listed(sorted(params)),
    )


FAMILIES = (
    Family("copy_words", "copying", _draw_words, _state_copy_words),
    Family("copy_code", "copying", _draw_code, _state_copy_code),
    Family("copy_quoted", "copying", _draw_quoted, _state_copy_quoted),
    Family("sort_numbers", "sorting", _draw_numbers, _state_sort_numbers),
    Family("sort_words", "sorting", _draw_different_words, _state_sort_words),
)
