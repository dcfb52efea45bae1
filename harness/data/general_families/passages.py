"""Retrieval: what a passage says is asked for, word for word."""

from __future__ import annotations

import re
from random import Random

from harness.data.general_families.family import Family, Params, Stated, different, word

_PEOPLE = {1: 2, 2: 3, 3: 5, 4: 8, 5: 12}
_ANIMALS = ("hens", "goats", "cats", "geese", "horses", "bees")
_ORDINALS = re.findall(
    r"\w+",
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
)


# ---------------------------------------------------------------- who lives where, with how many animals
def _draw_people(rng: Random, level: int) -> Params:
    """(which is asked, then `name town number animals` of each)."""
    number = _PEOPLE[level]
    names = different(rng, number, lambda r: word(r).capitalize())
    towns = different(rng, number, lambda r: word(r, 3).capitalize())
    facts = [
        f"{name} {town} {rng.randint(2, 99)} {rng.choice(_ANIMALS)}"
        for name, town in zip(names, towns, strict=True)
    ]
    return (str(rng.randrange(number)), *facts)


def _passage(facts: list[str]) -> tuple[str, str]:
    """In sentences, and in short."""
    split = [fact.split() for fact in facts]
    full = " ".join(f"{n} lives in {town} and keeps {k} {animals}." for n, town, k, animals in split)
    return full, "; ".join(f"{n} {town} {k} {animals}" for n, town, k, animals in split)


def _state_town(params: Params) -> Stated:
    asked, *facts = params
    full, short = _passage(facts)
    name, town, _, _ = facts[int(asked)].split()
    canonical = f"{name}:{'|'.join(sorted(facts))}"
    return Stated(canonical, f"{full} Where does {name} live?", f"{short}? {name} town", town)


def _state_number(params: Params) -> Stated:
    asked, *facts = params
    full, short = _passage(facts)
    name, _, number, animals = facts[int(asked)].split()
    canonical = f"{name}:{'|'.join(sorted(facts))}"
    return Stated(
        canonical, f"{full} How many {animals} does {name} keep?", f"{short}? {name} {animals}", number
    )


# ---------------------------------------------------------------- a table of keys
def _draw_table(rng: Random, level: int) -> Params:
    """(which is asked, then `key=value`)."""
    number = 2 * _PEOPLE[level]
    keys = different(rng, number, word)
    return (str(rng.randrange(number)), *(f"{key}={word(rng)}" for key in keys))


def _state_key(params: Params) -> Stated:
    asked, *rows = params
    key, value = rows[int(asked)].split("=")
    return Stated(
        canonical=f"{key}:{'|'.join(sorted(rows))}",
        text=f"In this table, what is the value of {key}? {', '.join(rows)}",
        terse=f"{' '.join(rows)} ? {key}",
        answer=value,
    )


# ---------------------------------------------------------------- the word at a place
def _draw_place(rng: Random, level: int) -> Params:
    """(place, words)."""
    number = _PEOPLE[level] + 1
    return (str(rng.randrange(min(number, len(_ORDINALS)))), *different(rng, number, word))


def _state_place(params: Params) -> Stated:
    place, *words = params
    text = " ".join(words)
    return Stated(
        canonical=f"{place}:{text}",
        text=f"What is the {_ORDINALS[int(place)]} word of this list? {text}",
        terse=f"word {int(place) + 1} of {text}",
        answer=words[int(place)],
    )


FAMILIES = (
    Family("find_town", "retrieval", _draw_people, _state_town),
    Family("find_number", "retrieval", _draw_people, _state_number),
    Family("find_key", "retrieval", _draw_table, _state_key),
    Family("find_place", "retrieval", _draw_place, _state_place),
)
