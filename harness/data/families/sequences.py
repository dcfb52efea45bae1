"""Sequences and series."""

from __future__ import annotations

import math
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "sequences"


# ---------------------------------------------------------------- arithmetic sequences
def _draw_arithmetic(rng: Random, level: int) -> Params:
    """(level, a, d, n): (1) term n from a and d, (2) the sum from the ends, (3) the sum from a, a+d and the
    end; (4, a, d, i, j, k): from terms i and j, term k; (5, a, d, n, m): the sum of terms n to m modulo
    1000."""
    if level == 1:
        return (1, rng.randint(1, 30), rng.randint(2, 9), rng.randint(5, 20))
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


# ---------------------------------------------------------------- geometric sequences
def _draw_geometric(rng: Random, level: int) -> Params | None:
    """(1, a, p, q): the infinite sum with ratio p/q; (2, 4, a, r, n, m): n terms modulo m; (3, a, p, q): the
    infinite sum of squares; (5, t, p, q, n): from the sums of n and 2n terms the one of 3n terms."""
    if level in (2, 4):
        n, modulus = (rng.randint(3, 7), 1000) if level == 2 else (rng.randint(7, 11), rng.randint(101, 999))
        return (level, rng.randint(2, 60), rng.randint(2, 9), n, modulus)
    p, q = sorted(rng.sample(range(1, 20 if level == 1 else 15), 2))
    if math.gcd(p, q) > 1:
        return None
    if level == 5:
        return (5, rng.randint(1, 12), *(rng.choice([(p, q), (q, p)])), rng.randint(3, 60))
    return (level, rng.randint(2, 60), p, q)


def _state_geometric(params: Params) -> Statement:
    level, a, p, q, *n = params
    if level in (2, 4):
        return Statement(
            canonical=f"sum:{joined(params[1:])}",
            text=f"A geometric sequence begins with ${a}$ and has common ratio ${p}$. Find the remainder "
            f"when the sum of its first ${q}$ terms is divided by ${n[0]}$.",
            terse=f"geometric {a} ratio {p} sum {q} mod {n[0]}",
        )
    if level == 5:
        first, second = a * q * q, a * q * q + a * p * q
        return Statement(
            canonical=f"5:{first},{second},{n[0]}",
            text=f"The first ${n[0]}$ terms of a geometric sequence of real numbers have the sum ${first}$, "
            f"and the first ${2 * n[0]}$ terms have the sum ${second}$. "
            f"Find the sum of the first ${3 * n[0]}$ terms.",
            terse=f"geometric sum {n[0]}={first},sum {2 * n[0]}={second},sum {3 * n[0]}",
        )
    what, asked = "its terms", "Find $m + n$."
    if level == 3:
        what, asked = "the squares of its terms", "Find the remainder when $m + n$ is divided by $1000$."
    return Statement(
        canonical=f"{level}:{joined(params[1:])}",
        text=f"An infinite geometric sequence begins with ${a}$ and has common ratio $\\frac{{{p}}}{{{q}}}$. "
        f"The sum of {what} is $\\frac{{m}}{{n}}$ in lowest terms. {asked}",
        terse=f"geometric {a} ratio {p}/{q} sum" + (" of squares m+n mod 1000" if level == 3 else " m+n"),
    )


def _derive_geometric(params: Params, work: Derivation) -> int:
    level, a, p, q, *n = params
    if level in (2, 4):
        series = (
            work.div(work.sub(work.power(p, q), 1), work.sub(p, 1))
            if p > 2
            else work.sub(work.power(p, q), 1)
        )
        return work.mod(work.mul(a, series), n[0])
    if level == 5:
        first, second = a * q * q, a * q * q + a * p * q
        more = work.sub(second, first)
        return work.add(second, work.div(work.mul(more, more), first))
    if level == 3:
        a, p, q = (work.mul(value, value) for value in (a, p, q))
    total = work.lowest_terms_sum(work.mul(a, q), work.sub(q, p))
    return work.mod(total, 1000) if level == 3 else total


# ---------------------------------------------------------------- linear recurrences
def _draw_recurrence(rng: Random, level: int) -> Params:
    """(level, a1, a2, p, q, n, m): term n of a_k = p a_(k-1) + q a_(k-2), modulo m from level 3, else m =
    0."""
    top, times, modulus = {
        1: (4, (4, 5), 0),
        2: (3, (5, 7), 0),
        3: (9, (6, 8), rng.randint(11, 99)),
        4: (15, (9, 12), rng.randint(50, 400)),
        5: (30, (14, 20), rng.randint(200, 999)),
    }[level]
    first, second, p, q = rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, top), rng.randint(1, top)
    return (level, first, second, p, q, rng.randint(*times), modulus)


def _state_recurrence(params: Params) -> Statement:
    _, first, second, p, q, n, modulus = params
    rule = f"a_k = {p}a_{{k-1}} + {q}a_{{k-2}}"
    asked = (
        f"Find the remainder when $a_{{{n}}}$ is divided by ${modulus}$." if modulus else f"Find $a_{{{n}}}$."
    )
    return Statement(
        canonical=joined(params[1:]),
        text=f"Let $a_1 = {first}$, $a_2 = {second}$ and ${rule}$ for $k > 2$. {asked}",
        terse=f"a={first},{second};{p},{q};term {n}" + (f" mod {modulus}" if modulus else ""),
    )


def _derive_recurrence(params: Params, work: Derivation) -> int:
    _, before, last, p, q, n, modulus = params
    for _ in range(n - 2):
        term = work.add(work.mul(p, last), work.mul(q, before))
        before, last = last, work.mod(term, modulus) if modulus else term
    return last


# ---------------------------------------------------------------- telescoping sums
def _draw_telescoping(rng: Random, level: int) -> Params:
    """(level, c, a, d, n): c/(a(a+d)) + c/((a+d)(a+2d)) + ... with n terms; c = 1 up to level 2, d = 1 at
    level 1; (4, 1, a, 1, n): the product of 1 - 1/k^2; (5, c, a, 1, n): c/(k(k+1)(k+2))."""
    d = rng.randint(2, 9) if level in (2, 3) else 1
    c = rng.randint(2, 30) if level in (3, 5) else 1
    a = rng.randint(1 if level != 4 else 2, (0, 30, 20, 30, 60, 30)[level])
    return (level, c, a, d, rng.randint(4, (0, 60, 30, 60, 99, 60)[level]))


def _state_telescoping(params: Params) -> Statement:
    level, c, a, d, n = params
    last = a + (n - 1) * d
    if level == 4:
        full = rf"\left(1 - \frac{{1}}{{{a}^2}}\right) \cdots \left(1 - \frac{{1}}{{{last}^2}}\right)"
        what, terse = "product", f"(1-1/{a}^2)..(1-1/{last}^2)"
    elif level == 5:
        parts = [f"{k} \\cdot {k + 1} \\cdot {k + 2}" for k in (a, a + 1, last)]
        what, terse = "sum", f"{c}/({a}*{a + 1}*{a + 2})+..+{c}/({last}*{last + 1}*{last + 2})"
        full = (
            rf"\frac{{{c}}}{{{parts[0]}}} + \frac{{{c}}}{{{parts[1]}}} + \cdots + \frac{{{c}}}{{{parts[2]}}}"
        )
    else:
        parts = [f"{k} \\cdot {k + d}" for k in (a, a + d, last)]
        what, terse = "sum", f"{c}/({a}*{a + d})+{c}/({a + d}*{a + 2 * d})+..+{c}/({last}*{last + d})"
        full = (
            rf"\frac{{{c}}}{{{parts[0]}}} + \frac{{{c}}}{{{parts[1]}}} + \cdots + \frac{{{c}}}{{{parts[2]}}}"
        )
    return Statement(
        canonical=f"{what if level != 5 else 'triple'}:{joined(params[1:])}",
        text=f"The {what} ${full}$ is $\\frac{{m}}{{n}}$ in lowest terms. Find the remainder when $m + n$ is "
        "divided by $1000$.",
        terse=f"{terse} m+n mod 1000",
    )


def _derive_telescoping(params: Params, work: Derivation) -> int:
    level, c, a, d, n = params
    last = a + (n - 1) * d
    if level == 4:
        total = work.lowest_terms_sum(work.mul(work.sub(a, 1), work.add(last, 1)), work.mul(a, last))
    elif level == 5:  # c/2 times 1/(a(a+1)) - 1/((last+1)(last+2))
        low, high = work.mul(a, a + 1), work.mul(last + 1, last + 2)
        total = work.lowest_terms_sum(work.mul(c, work.sub(high, low)), work.mul(2, work.mul(low, high)))
    else:  # c/d times 1/a - 1/(last+d), whose numerator is n*d
        count = work.add(work.div(work.sub(last, a), d), 1)
        total = work.lowest_terms_sum(work.mul(c, count), work.mul(a, work.add(last, d)))
    return work.mod(total, 1000)


FAMILIES = (
    Family("arithmetic", TOPIC, _draw_arithmetic, _state_arithmetic, _derive_arithmetic),
    Family("geometric", TOPIC, _draw_geometric, _state_geometric, _derive_geometric),
    Family("recurrence", TOPIC, _draw_recurrence, _state_recurrence, _derive_recurrence),
    Family("telescoping", TOPIC, _draw_telescoping, _state_telescoping, _derive_telescoping),
)
