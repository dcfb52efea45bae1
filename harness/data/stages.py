"""What happens to problems between their source and a run: filters, copies, order, diversity, dose. Pure.

A stage takes problems and gives problems, and says in a report what it left out or put in, by id.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.data.normalise import exact_key
from harness.types import Problem

_COPY = re.compile(r"/copy\d+$")


def filtered(
    problems: Sequence[Problem], *, levels: Sequence[int], subjects: Sequence[str], name: str
) -> list[Problem]:
    """Keep the problems of the levels and subjects; an empty list lets all through.

    Raises ValueError where the set has no levels or subjects, or no such subject, and where nothing is left.
    """
    if not problems:
        return []
    _check_known("levels", levels, {p.level for p in problems} - {None}, name)
    _check_known("subjects", subjects, {p.topic for p in problems} - {None}, name)
    left = [
        p for p in problems if (not levels or p.level in levels) and (not subjects or p.topic in subjects)
    ]
    if not left:
        raise ValueError(
            f"levels={list(levels)}, subjects={list(subjects)}: no problem of {name} has both; widen one"
        )
    return left


def _check_known(field: str, given: Sequence[Any], known: set[Any], name: str) -> None:
    """Raises ValueError unless the problems have each value; it names the nearest ones that they have."""
    if given and not known:
        raise ValueError(f"{field}={list(given)}: the problems of {name} have none; leave {field} out")
    for value in given:
        if value not in known:
            options = [str(v) for v in sorted(known)]
            near = difflib.get_close_matches(str(value), options, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(options)}"
            raise ValueError(f"{field}={value}: {name} has no such {field[:-1]}; {hint}")


def without_duplicates(problems: Sequence[Problem]) -> tuple[list[Problem], list[tuple[str, str]]]:
    """The first of each text (same words, numbers and signs), and the (kept, left out) pairs of ids."""
    first: dict[str, Problem] = {}
    pairs = []
    for problem in problems:
        kept = first.setdefault(exact_key(problem.text), problem)
        if kept is not problem:
            pairs.append((kept.id, problem.id))
    return list(first.values()), pairs


def seeded(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """An order by seed and ids alone: what else is in the list does not change who comes first."""
    return sorted(problems, key=lambda p: _rank(seed, "order", p.id))


def of_families(problems: Sequence[Problem], num_families: int, seed: int) -> list[Problem]:
    """Keep the problems of `num_families` topics; nested, so k topics are a subset of k+1.

    Raises ValueError for more topics than there are.
    """
    chosen = set(fewer_families(sorted({str(p.topic) for p in problems}), num_families, seed))
    return [p for p in problems if str(p.topic) in chosen]


def fewer_families(families: Sequence[str], num_families: int, seed: int) -> list[str]:
    """The first of them in a seeded order, listed as they were."""
    if num_families > len(families):
        raise ValueError(f"num_families={num_families}: there are {len(families)}; lower it")
    chosen = sorted(families, key=lambda name: _rank(seed, "family", name))[:num_families]
    return [name for name in families if name in chosen]


def repeated(
    problems: Sequence[Problem], num_distinct: int, total: int, seed: int, *, by: str = "length"
) -> list[Problem]:
    """Make `total` problems of `num_distinct` different ones, chosen by length or by order.

    length: the problems are put in order of length and cut into `num_distinct` equal parts; each part gives
    one of the quarter that is nearest to its mean, so that the mean length is about that of all. order: the
    first ones. Copies come in rounds and are called <id>/copy2 and so on.
    """
    number = len(problems)
    if num_distinct > number:
        raise ValueError(f"num_distinct={num_distinct}: there are {number} problems; lower it")
    chosen = _of_even_length(problems, num_distinct, seed) if by == "length" else problems[:num_distinct]
    ids = {p.id for p in chosen}
    kept = [p for p in problems if p.id in ids]
    return [
        kept[i % num_distinct]
        if i < num_distinct
        else replace(kept[i % num_distinct], id=f"{kept[i % num_distinct].id}/copy{i // num_distinct + 1}")
        for i in range(total)
    ]


def _of_even_length(problems: Sequence[Problem], num_distinct: int, seed: int) -> list[Problem]:
    by_length, number = sorted(problems, key=lambda p: (len(p.text), p.id)), len(problems)
    chosen = []
    for i in range(num_distinct):
        part = by_length[i * number // num_distinct : (i + 1) * number // num_distinct]
        mean = sum(len(p.text) for p in part) / len(part)
        near = sorted(part, key=lambda p: (abs(len(p.text) - mean), p.id))[: (len(part) + 3) // 4]
        chosen.append(min(near, key=lambda p: _rank(seed, "distinct", p.id)))
    return chosen


def without_copies(problems: Sequence[Problem]) -> list[Problem]:
    """Drop the copies that `repeated` made."""
    return [p for p in problems if not _COPY.search(p.id)]


def dosed(
    problems: Sequence[Problem], evaluation: Sequence[Problem], *, percent: float, seed: int
) -> tuple[list[Problem], list[str]]:
    """`percent` of the evaluation problems in the place of as many training problems, and their ids.

    Both are chosen by the seed, and a larger dose holds the smaller one. Raises ValueError for a dose of no
    problem or of more than there are training problems.
    """
    number = round(len(evaluation) * percent / 100)
    if not number:
        least = 100 / len(evaluation)
        raise ValueError(f"dose.percent={percent:g}: less than one problem; give {least:.3g} or more")
    if number >= len(problems):
        raise ValueError(
            f"dose.percent={percent:g}: {number} problems, and {len(problems)} to train on; lower it, or "
            "raise num_train"
        )
    chosen = sorted(evaluation, key=lambda p: _rank(seed, "dose", p.id))[:number]
    places = sorted(range(len(problems)), key=lambda i: _rank(seed, "place", str(i)))[:number]
    mixed = list(problems)
    for place, problem in zip(places, chosen, strict=True):
        mixed[place] = replace(problem, split="train")
    return mixed, [p.id for p in chosen]


def shares(total: int, weights: dict[str, float]) -> dict[str, int]:
    """`total` shared out by weight, rounded by the largest remainders, so that it sums to `total`."""
    exact = {name: total * weight for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def interleaved(parts: dict[str, list[Problem]]) -> list[Problem]:
    """Merge the parts so that every prefix holds them in about their shares."""
    places = [
        ((i + 0.5) / len(problems), name, i) for name, problems in parts.items() for i in range(len(problems))
    ]
    return [parts[name][i] for _, name, i in sorted(places)]


def size(problems: Sequence[Problem]) -> dict[str, Any]:
    """How much there is: problems, different ones, topics, characters of text."""
    return {
        "num_problems": len(problems),
        "num_distinct": len(without_copies(problems)),
        "num_topics": len({p.topic for p in problems}),
        "num_characters": sum(len(p.text) for p in problems),
    }


def _rank(seed: int, use: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{use}\x1f{key}".encode()).digest()
