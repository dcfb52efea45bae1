"""GSM8K with other numbers, by rule: the answer is recomputed through the annotations `<<48/2=24>>`.

Each value written in digits is replaced wherever it stands, the operands that it explains follow, and the
steps are evaluated anew, exactly. A problem is left out where an operand has two explanations or none, where
a number may hide a relation that no step states (its text says 2, 3 and 5), or where its wording makes the
solution depend on the numbers ("at least", "overtime"). What was an integer, positive or below one stays so,
numbers keep their order, and hours, days and the like keep within their bounds. Sound by design for most, not
by proof: README says how many of a sample were read and found right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, islice, pairwise
from random import Random

from harness.data.annotations import Exact, Step, number, shown, solution_of, steps_of, value_of
from harness.data.constants import implied, written
from harness.types import Problem

PERTURB_VERSION = 1
MAX_DRAWS = 80  # of new numbers for a twin, before a problem is left out
MAX_ANSWER = 10**7

_DIGITS = re.compile(r"\d[\d,]*\.?\d*|\.\d+")
_FREE = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
_TIED_BEFORE = re.compile(
    r"[/:.#]\s?$|[A-Za-z]$|\b(?:January|February|March|April|May|June|July|August|September|October|November"
    r"|December|day|number|grade|level|page|chapter|size|route|room|at)\s$",
    re.IGNORECASE,
)
_TIED_AFTER = re.compile(
    r"\s?(?:%|percent|[/:]|st\b|nd\b|rd\b|th\b|[ap]\.?m\b|o'clock|noon)|\.\d|[A-Za-z]"
    r"|[\s-](?:(?:dollar|cent)s?\s)?(?:bill|coin|note)s?\b",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b([Aa])n?( \$?)$")
_AN = re.compile(r"8|1[18](?!\d|,\d{3},)|1[18],\d{3}(?!,)")
_DEPENDS = re.compile(
    r"\b(?:overtime|exceed\w*|whichever|cheap\w*|round(?:ed|ing)|at least|at most|maximum|minimum"
    r"|no more than|no less than|up to|enough|remainder|leftover|prime|even|odd"
    r"|multiple|divisible|consecutive|beyond|first \d+|if .{0,40}(?:more|less|fewer|over|under) than"
    r"|over \d+|under \d+|more than \d+ )\b",
    re.IGNORECASE,
)
_BOUNDS = {"hour": (24,), "minute": (60,), "second": (60,), "day": (7, 30), "week": (4, 52), "month": (12,)}


def perturbations(problems: Sequence[Problem]) -> list[Problem]:
    """The perturbed twin of each problem that has one, in order; `pair_id` names the original."""
    return [twin for problem in problems if (twin := perturbed(problem)) is not None]


@lru_cache(maxsize=16384)
def perturbed(problem: Problem) -> Problem | None:
    """Twin of a problem with other numbers and another answer; None where the rules leave it out."""
    twin = next(_twins(problem, MAX_DRAWS), None)
    return twin and replace(twin, id=f"{problem.id}/perturbed", split="perturbed")


def training_twins(problem: Problem, most: int) -> list[Problem]:
    """Up to `most` further twins, all different, of the problem's own split; none is `perturbed`'s.

    That one stays for evaluation. A problem with small numbers has few twins, one left out by the rules none.
    """
    if perturbed(problem) is None:
        return []
    _, *others = islice(_twins(problem, MAX_DRAWS * (most + 1)), most + 1)  # the first is `perturbed`'s
    return [replace(twin, id=f"{problem.id}/twin{i}") for i, twin in enumerate(others, start=1)]


def _twins(problem: Problem, max_draws: int) -> Iterator[Problem]:
    """Different twins in the order in which they are drawn, with the original's id and split."""
    steps = steps_of(problem.solution or "")
    if not steps or number(problem.answer) != steps[-1].result:
        return
    free = _free_values(problem.text, steps)
    if not free or _DEPENDS.search(problem.text):
        return
    constants = (implied(problem.text) | written(problem.text) | _values(problem.text)) - set(free)
    seen: set[tuple[int, ...]] = set()
    for drawn in _draws(problem.text, free, max_draws):
        if (values := tuple(drawn.values())) in seen:
            continue
        seen.add(values)
        new = _recomputed(steps, drawn, constants)
        if new is not None and 0 < new[-1].result <= MAX_ANSWER and new[-1].result != steps[-1].result:
            yield replace(
                problem,
                text=_rewritten(problem.text, drawn),
                answer=shown(new[-1].result),
                solution=solution_of(new),
                pair_id=problem.id,
            )


def _draws(text: str, free: Sequence[Exact], max_draws: int) -> Iterator[dict[Exact, int]]:
    """New values for the free ones, each changed, all values of the text in their old order."""
    bounds = {value: _bounds(text, value) for value in free}
    key = f"{PERTURB_VERSION}|{text}"
    rng = Random(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
    order = sorted(_values(text))
    for _ in range(max_draws):
        drawn = {value: rng.randrange(low, high + 1, step) for value, (low, high, step) in bounds.items()}
        values = [drawn.get(value, value) for value in order]
        if all(new != old for old, new in drawn.items()) and all(a < b for a, b in pairwise(values)):
            yield drawn


@lru_cache(maxsize=16)
def _numbers(text: str) -> list[tuple[re.Match[str], Exact, bool]]:
    """Each number in digits: where, its value, whether it stands free (no time, date, share or decimal)."""
    found: list[tuple[re.Match[str], Exact, bool]] = []
    for match in _DIGITS.finditer(text):
        token = match[0].rstrip(",.")
        free = (
            _FREE.fullmatch(token) is not None
            and not _TIED_BEFORE.search(text[: match.start()][-12:])
            and not _TIED_AFTER.match(text[match.start() + len(token) :])
        )
        value = Fraction(token.replace(",", ""))
        found.append((match, value.numerator if value.denominator == 1 else value, free))
    return found


def _values(text: str) -> set[Exact]:
    return {value for _, value, _ in _numbers(text)}


def _free_values(text: str, steps: Sequence[Step]) -> list[Exact]:
    """The values to change: free wherever they stand, used by a step, and explained in one way alone.

    Empty where the problem has a relation that no step states, or an operand with two explanations.
    """
    numbers = _numbers(text)
    tied = {value for _, value, free in numbers if not free} | implied(text) | written(text)
    used = {value for step in steps for value in step.operands.values()}
    free = {v for _, v, _ in numbers if v in used and v not in tied and not 1900 <= v <= 2100}
    earlier: set[Exact] = set()
    for step in steps:
        if set(step.operands.values()) & earlier & free:
            return []
        earlier.add(step.result)
    return [] if _has_unstated_relation(_values(text), free) else sorted(free)


def _has_unstated_relation(values: set[Exact], free: set[Exact]) -> bool:
    """Whether three values, one of them free, are a sum or a product that no step may state: 2, 3 and 5."""
    for a, b in combinations(sorted(values), 2):
        related = {a + b, a * b} if a > 1 else {a + b}
        if any(c in values and {a, b, c} & free for c in related):
            return True
    return False


def _bounds(text: str, value: Exact) -> tuple[int, int, int]:
    """(lowest, highest, step) of the new value: about 0.6 to 1.6 times the old one, as round as it was."""
    v = int(value)
    step = 10 if v >= 50 and v % 10 == 0 else 5 if v >= 20 and v % 5 == 0 else 1
    low, high = max(2, v * 6 // 10), v * 16 // 10 + 2
    for match, found, _ in _numbers(text):
        unit = re.match(r"[\s-]*([a-z]+?)s?\b", text[match.end() :], re.IGNORECASE)
        if found == value and unit:
            for bound in _BOUNDS.get(unit[1].lower(), ()):
                if v <= bound:
                    high = min(high, bound)
                    break
    if step > 1:
        low = -(-low // step) * step
    return low, max(low, high), step


def _recomputed(
    steps: Sequence[Step], drawn: Mapping[Exact, int], constants: set[Exact]
) -> list[Step] | None:
    """The steps with the new numbers; None where one has no explanation or changes its nature."""
    results: dict[Exact, set[Exact]] = {}
    new = []
    for step in steps:
        operands: dict[str, Exact] = {}
        for token, old in step.operands.items():
            if old in drawn:
                operands[token] = drawn[old]
            elif old in results:
                (value, *others) = results[old]
                if others or (old in constants and value != old):
                    return None
                operands[token] = value
            elif old in constants:
                operands[token] = old
            else:
                return None
        result = value_of(step.postfix, operands)
        if result is None or not _alike(step.result, result):
            return None
        results.setdefault(step.result, set()).add(result)
        tokens = tuple(shown(operands[t]) if t in operands else t for t in step.tokens)
        new.append(Step(tokens, step.postfix, operands, result))
    return new


def _alike(old: Exact, new: Exact) -> bool:
    """Both positive, both whole or both decimals of at most two places, both below one or not."""
    if new <= 0 or (old < 1) != (new < 1):
        return False
    return new.denominator == 1 if old.denominator == 1 else (new * 100).denominator == 1


def _rewritten(text: str, drawn: Mapping[Exact, int]) -> str:
    out, end = [], 0
    for match, value, _ in _numbers(text):
        if value not in drawn:
            continue
        token = match[0].rstrip(",.")
        new = f"{int(drawn[value]):,}" if "," in token else str(drawn[value])
        before = text[end : match.start()]
        out += [_ARTICLE.sub(rf"\g<1>{'n' if _AN.match(new) else ''}\g<2>", before), new]
        end = match.start() + len(token)
    return "".join([*out, text[end:]])
