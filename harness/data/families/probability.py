"""Probability: a fraction m/n in lowest terms, of which m+n is the answer."""

from __future__ import annotations

from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "probability"
_ASKED = r"is $\frac{m}{n}$ in lowest terms. Find $m + n$."
_COLOURS = ("red", "blue", "green")


# ---------------------------------------------------------------- balls from a bag
def _draw_balls(rng: Random, level: int) -> Params:
    """(level, sizes...): (1) two draws, both red, (2, 3) both of one colour, of two or three colours,
    (4) three draws of one colour, (5) three draws of three colours."""
    count, top = {1: (2, 40), 2: (2, 60), 3: (3, 22), 4: (2, 60), 5: (3, 22)}[level]
    sizes = [rng.randint(3, top) for _ in range(count)]
    return (level, *sizes)


def _state_balls(params: Params) -> Statement:
    level, *sizes = params
    named = [f"${size}$ {colour}" for size, colour in zip(sizes, _COLOURS, strict=False)]
    draws = 2 if level <= 3 else 3
    event = {1: "all of them are red", 5: "no two of them have the same colour"}
    short = {1: "all red", 5: "all different"}
    return Statement(
        canonical=f"{'red' if level == 1 else level}:{joined(sizes if level == 1 else sorted(sizes))}",
        text=f"A bag holds {', '.join(named[:-1])} and {named[-1]} balls, and {('two', 'three')[draws - 2]} "
        "of them are drawn at random without replacement. The probability that "
        f"{event.get(level, 'all of them have the same colour')} {_ASKED}",
        terse=f"balls {'+'.join(map(str, sizes))} draw {draws} {short.get(level, 'all same')} m+n",
    )


def _derive_balls(params: Params, work: Derivation) -> int:
    level, *sizes = params
    draws = 2 if level <= 3 else 3
    every = work.choose(work.total(sizes), draws)
    if level == 5:
        return work.lowest_terms_sum(work.product(sizes), every)
    good = work.total([work.choose(size, draws) for size in (sizes[:1] if level == 1 else sizes)])
    return work.lowest_terms_sum(good, every)


# ---------------------------------------------------------------- dice
def _draw_dice(rng: Random, level: int) -> Params:
    """(level, k, sides...): the sum is (1, 4) k or (2, 5) at most k, with k <= the fewest sides + 1;
    (3) the first die exceeds the second by at least k."""
    if level == 3:
        second, k = rng.randint(4, 30), rng.randint(1, 9)
        return (3, k, rng.randint(second + k, 45), second)
    sides = [rng.randint(4, 30 if level <= 2 else 16) for _ in range(2 if level <= 2 else 3)]
    return (level, rng.randint(len(sides) + 1, min(sides) + 1), *sides)


def _state_dice(params: Params) -> Statement:
    level, k, *sides = params
    named = ", ".join(f"${n}$" for n in sides[:-1]) + f" and ${sides[-1]}$"
    if level == 3:
        event, short = f"the first number exceeds the second by at least ${k}$", f"first-second>={k}"
    elif level in (1, 4):
        event, short = f"the sum of the numbers is ${k}$", f"sum={k}"
    else:
        event, short = f"the sum of the numbers is at most ${k}$", f"sum<={k}"
    kind = {1: "is", 4: "is", 3: "exceeds"}.get(level, "at most")
    return Statement(
        canonical=f"{kind}:{k}:{joined(sides if level == 3 else sorted(sides))}",
        text=f"Fair dice with {named} sides, numbered from one, are rolled. "
        f"The probability that {event} {_ASKED}",
        terse=f"dice {','.join(map(str, sides))} {short} m+n",
    )


def _derive_dice(params: Params, work: Derivation) -> int:
    """No die is full at a sum of at most k, so the sums are counted by stars and bars."""
    level, k, *sides = params
    every = work.product(sides)
    if level == 3:
        most = work.sub(sides[0], k)
        fewest = work.sub(most, work.sub(sides[1], 1))
        good = work.div(work.mul(work.add(most, fewest), sides[1]), 2)
    elif level == 1:
        good = work.sub(k, 1)
    elif level in (2, 4):
        good = work.choose(k if level == 2 else work.sub(k, 1), 2)
    else:
        good = work.choose(k, 3)
    return work.lowest_terms_sum(good, every)


FAMILIES = (
    Family("balls", TOPIC, _draw_balls, _state_balls, _derive_balls),
    Family("dice", TOPIC, _draw_dice, _state_dice, _derive_dice),
)
