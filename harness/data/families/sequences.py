"""Sequences and series."""

from __future__ import annotations

from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "sequences"


# ---------------------------------------------------------------- arithmetic sequences
def _draw_arithmetic(rng: Random, level: int) -> Params:
    """(level, a, d, n): (1) term n from a and d, (2) the sum from the ends, (3) the sum from a, a+d and the
    end; (4, a, d, i, j, k): from terms i and j, term k; (5, a, d, n, m): the sum of terms n to m modulo
    1000."""
    if level == 1:
        return (1, rng.randint(1, 60), rng.randint(2, 15), rng.randint(5, 40))
    if level == 2:
        return (2, rng.randint(1, 40), rng.randint(2, 9), rng.randint(5, 20))
    if level == 3:
        return (3, rng.randint(1, 40), rng.randint(2, 9), rng.randint(8, 24))
    if level == 4:
        i, j, k = sorted(rng.sample(range(3, 60), 3))
        return (4, rng.randint(1, 60), rng.randint(2, 16), i, j, k)
    n, m = sorted(rng.sample(range(10, 120), 2))
    return (5, rng.randint(2, 99), rng.randint(3, 40), n, m)


def _state_arithmetic(params: Params) -> Statement:
    level, a, d, *n = params
    head = f"An arithmetic sequence begins with ${a}$ and ${a + d}$. "
    if level == 1:
        head = f"An arithmetic sequence begins with ${a}$ and has common difference ${d}$. "
        text, terse = f"Find its term number ${n[0]}$.", f"arithmetic {a} step {d} term {n[0]}"
    elif level == 2:
        last = a + (n[0] - 1) * d
        head = f"An arithmetic sequence of ${n[0]}$ terms begins with ${a}$ and ends with ${last}$. "
        text, terse = "Find the sum of its terms.", f"arithmetic {a} to {last},{n[0]} terms"
    elif level == 3:
        last = a + (n[0] - 1) * d
        head, text = f"Find the sum ${a} + {a + d} + \\cdots + {last}$ ", "of an arithmetic sequence."
        terse = f"arithmetic {a}+{a + d}+..+{last}"
    elif level == 4:
        first, second = a + (n[0] - 1) * d, a + (n[1] - 1) * d
        head = f"Terms number ${n[0]}$ and ${n[1]}$ of an arithmetic sequence are ${first}$ and ${second}$. "
        text = f"Find its term number ${n[2]}$."
        terse = f"arithmetic term {n[0]}={first},term {n[1]}={second},term {n[2]}"
    else:
        text = (
            f"Find the remainder when the sum of its terms number ${n[0]}$ to ${n[1]}$ is divided by $1000$."
        )
        terse = f"arithmetic {a},{a + d} sum {n[0]} to {n[1]} mod 1000"
    kind = "sum" if level in (2, 3) else str(level)
    return Statement(f"{kind}:{a},{d},{joined(n)}", head + text, terse)


def _term(work: Derivation, a: int, d: int, n: int) -> int:
    return work.add(a, work.mul(work.sub(n, 1), d))


def _derive_arithmetic(params: Params, work: Derivation) -> int:
    level, a, d, *n = params
    if level == 4:
        first, second = a + (n[0] - 1) * d, a + (n[1] - 1) * d
        step = work.div(work.sub(second, first), work.sub(n[1], n[0]))
        return work.add(second, work.mul(work.sub(n[2], n[1]), step))
    if level == 1:
        return _term(work, a, d, n[0])
    low, high, count = a, a + (n[0] - 1) * d, n[0]
    if level == 3:
        count = work.add(work.div(work.sub(high, a), work.sub(a + d, a)), 1)
    elif level == 5:
        d = work.sub(a + d, a)
        low, high = _term(work, a, d, n[0]), _term(work, a, d, n[1])
        count = work.add(work.sub(n[1], n[0]), 1)
    total = work.div(work.mul(work.add(low, high), count), 2)
    return work.mod(total, 1000) if level == 5 else total


FAMILIES = (Family("arithmetic", TOPIC, _draw_arithmetic, _state_arithmetic, _derive_arithmetic, mini=True),)
