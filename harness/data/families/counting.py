"""Counting and probability."""

from __future__ import annotations

from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "counting"


# ---------------------------------------------------------------- integers with given remainders
def _draw_multiples(rng: Random, level: int) -> Params | None:
    """(level, N, moduli...); at level 2 (2, N, modulus, remainder)."""
    if level == 1:
        return (1, rng.randint(50, 600), rng.randint(3, 12))
    if level == 2:
        modulus = rng.randint(4, 9)
        return (2, rng.randint(60, 400), modulus, rng.randint(1, modulus - 1))
    moduli = rng.sample((2, 3, 5, 7, 11, 13) if level == 5 else range(3, 16), 3 if level == 5 else 2)
    if any(a % b == 0 for a in moduli for b in moduli if a != b):
        return None
    top = {3: 600, 4: 1500, 5: 1400}[level]
    return (level, rng.randint(100, top), *moduli)


def _state_multiples(params: Params) -> Statement:
    level, top, *n = params
    head = f"Find the number of positive integers not exceeding ${top}$ that"
    if level == 1:
        text, terse = f"are multiples of ${n[0]}$", f"multiples of {n[0]}"
    elif level == 2:
        text = f"leave a remainder of ${n[1]}$ when divided by ${n[0]}$"
        terse = f"x mod {n[0]}={n[1]}"
    elif level == 3:
        text, terse = f"are multiples of ${n[0]}$ or of ${n[1]}$", f"multiples of {n[0]} or {n[1]}"
    elif level == 4:
        text = f"are multiples of neither ${n[0]}$ nor ${n[1]}$"
        terse = f"multiples of neither {n[0]} nor {n[1]}"
    else:
        text = f"are multiples of at least one of ${n[0]}$, ${n[1]}$ and ${n[2]}$"
        terse = f"multiples of {n[0]} or {n[1]} or {n[2]}"
    kind = {2: "remainder", 4: "neither"}.get(level, "or")
    canonical = f"{kind}:{top}:{joined(n if level == 2 else sorted(n))}"
    return Statement(canonical, f"{head} {text}.", f"{terse} in 1..{top}")


def _lcm(work: Derivation, a: int, b: int) -> int:
    common = work.euclid(a, b)
    return work.mul(a, b if common == 1 else work.div(b, common))


def _derive_multiples(params: Params, work: Derivation) -> int:
    level, top, *n = params
    if level == 1:
        return work.quotient(top, n[0])
    if level == 2:
        return work.add(work.quotient(work.sub(top, n[1]), n[0]), 1)
    singles = [work.quotient(top, a) for a in n]
    if level < 5:
        both = work.quotient(top, _lcm(work, n[0], n[1]))
        either = work.sub(work.total(singles), both)
        return work.sub(top, either) if level == 4 else either
    a, b, c = n
    pairs = [work.quotient(top, work.mul(p, q)) for p, q in ((a, b), (a, c), (b, c))]
    triple = work.quotient(top, work.product(n))
    return work.add(work.sub(work.total(singles), work.total(pairs)), triple)


# ---------------------------------------------------------------- games of a league
def _draw_league(rng: Random, level: int) -> Params:
    """(1, n, t, f) each pair of n teams meets t times, then f games; (2, n, t, m) m games a team outside;
    (3, n, m, t, s) two divisions, t games a pair within and s across; (4, ..., f) with f games more;
    (5, n, m, k, t, s) three divisions."""
    if level == 1:
        return (1, rng.randint(4, 30), rng.randint(2, 6), rng.randint(5, 60))
    if level == 2:
        return (2, rng.randint(4, 28), rng.randint(2, 6), rng.randint(2, 30))
    sizes = rng.sample(range(3, 16), 3 if level == 5 else 2)
    games = (rng.randint(2, 9), rng.randint(2, 9))
    return (level, *sizes, *games, *([rng.randint(10, 99)] if level == 4 else []))


def _state_league(params: Params) -> Statement:
    level, *n = params
    if level <= 2:
        teams, each, more = n
        text = f"A league has ${teams}$ teams, and each pair of teams plays ${each}$ games. "
        if level == 1:
            text += f"Then ${more}$ more games are played. "
            terse = f"league {teams} teams, {each} a pair, {more} more"
        else:
            text += f"Each team also plays ${more}$ games against guests. "
            terse = f"league {teams} teams, {each} a pair, {more} a team"
        return Statement(f"{level}:{joined(n)}", text + "Find the total number of games.", terse)
    sizes, games = (n[:3], n[3:5]) if level == 5 else (n[:2], n[2:])
    listed = ", ".join(f"${size}$" for size in sizes[:-1]) + f" and ${sizes[-1]}$"
    text = (
        f"A league has divisions of {listed} teams. Each pair of teams from one division plays ${games[0]}$ "
        f"games, and each pair of teams from different divisions plays ${games[1]}$ games. "
    )
    terse = f"league {'+'.join(map(str, sizes))} teams, {games[0]} within, {games[1]} across"
    if level == 4:
        text += f"Then ${games[2]}$ more games are played. "
        terse += f", {games[2]} more"
    canonical = f"divisions:{joined(sorted(sizes))}:{joined(games)}"
    return Statement(canonical, text + "Find the total number of games.", terse)


def _derive_league(params: Params, work: Derivation) -> int:
    level, *n = params
    if level <= 2:
        games = work.mul(work.choose(n[0], 2), n[1])
        return work.add(games, n[2] if level == 1 else work.mul(n[0], n[2]))
    sizes, games_each = (n[:3], n[3:5]) if level == 5 else (n[:2], n[2:])
    within = work.mul(work.total([work.choose(size, 2) for size in sizes]), games_each[0])
    if level == 5:
        a, b, c = sizes
        pairs = work.total([work.mul(a, b), work.mul(a, c), work.mul(b, c)])
    else:
        pairs = work.product(sizes)
    total = work.add(within, work.mul(pairs, games_each[1]))
    return work.add(total, games_each[2]) if level == 4 else total


# ---------------------------------------------------------------- committees
_GROUPS = ("teachers", "students", "parents")


def _draw_committee(rng: Random, level: int) -> Params | None:
    """(level, sizes..., members...): (1) k of one group or j of the other, (2) k of one and j of the other,
    k of all with (3) a student, (4) two students, (5) a member of each of three groups."""
    if level <= 2:
        n, m = rng.sample(range(4, 24), 2)
        k, j = rng.randint(2, 4), rng.randint(2, 4)
        return (level, n, m, k, j) if k < n and j < m else None
    sizes = rng.sample(range(4, 24), 3 if level == 5 else 2)
    return (level, *sizes, rng.randint(3, 6))


def _state_committee(params: Params) -> Statement:
    level, *n = params
    sizes, members = (n[:2], n[2:]) if level <= 2 else (n[:-1], n[-1:])
    named = [f"${size}$ {name}" for size, name in zip(sizes, _GROUPS, strict=False)]
    head = f"A school has {', '.join(named[:-1])} and {named[-1]}. Let $N$ be the number of ways to choose "
    listed = "+".join(map(str, sizes))
    if level <= 2:
        word = ("or", "and")[level - 1]
        body = f"${members[0]}$ teachers {word} ${members[1]}$ students"
        terse = f"choose {members[0]} of {sizes[0]} {word} {members[1]} of {sizes[1]} mod 1000"
        pairs = sorted([(sizes[0], members[0]), (sizes[1], members[1])])
        canonical = f"{word}:{pairs}"
    else:
        least = {
            3: "at least one student",
            4: "at least two students",
            5: "at least one member of each group",
        }
        body = f"a committee of ${members[0]}$ with {least[level]}"
        short = {3: "1 student", 4: "2 students", 5: "all groups"}[level]
        terse = f"choose {members[0]} of {listed} with {short} mod 1000"
        canonical = f"{level}:{joined(sorted(sizes) if level == 5 else sizes)}:{members[0]}"
    return Statement(canonical, f"{head}{body}. Find the remainder when $N$ is divided by $1000$.", terse)


def _derive_committee(params: Params, work: Derivation) -> int:
    level, *n = params
    if level <= 2:
        first, second = work.choose(n[0], n[2]), work.choose(n[1], n[3])
        return work.mod(work.add(first, second) if level == 1 else work.mul(first, second), 1000)
    *sizes, k = n
    total = work.choose(work.total(sizes), k)
    if level <= 4:
        teachers, students = sizes
        fewer = work.choose(teachers, k) if k <= teachers else 0
        if level == 4 and k - 1 <= teachers:
            fewer = work.add(fewer, work.mul(students, work.choose(teachers, k - 1)))
        return work.mod(work.sub(total, fewer), 1000)
    pairs = [work.add(sizes[i], sizes[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    missing_one = work.total([work.choose(pair, k) for pair in pairs if pair >= k])
    missing_two = [work.choose(size, k) for size in sizes if size >= k]
    kept = work.add(total, work.total(missing_two)) if missing_two else total
    return work.mod(work.sub(kept, missing_one), 1000)


# ---------------------------------------------------------------- integer solutions of x + y + ... = n
def _draw_solutions(rng: Random, level: int) -> Params | None:
    """(level, n, least values...); at levels 4 and 5 (level, n, greatest values...) of the first unknowns."""
    if level <= 3:
        least = [rng.randint(1, 12) for _ in range((0, 2, 3, 4)[level])]
        return (level, sum(least) + rng.randint(5, 40 if level < 3 else 22), *least)
    n = rng.randint(12, 75 if level == 4 else 40)
    greatest = [rng.randint(4, n - 2) for _ in range(level - 3)]
    return (level, n, *greatest)


def _state_solutions(params: Params) -> Statement:
    level, n, *bounds = params
    unknowns = "xyz" if level in (1, 2, 4) else "xyzw"
    sense, sign = ("least", r"\ge") if level <= 3 else ("greatest", r"\le")
    conditions = [rf"${name} {sign} {bound}$" for name, bound in zip(unknowns, bounds, strict=False)]
    where = ", ".join(conditions[:-1]) + (" and " if conditions[1:] else "") + conditions[-1]
    short = ",".join(f"{u}{'>' if level <= 3 else '<'}={b}" for u, b in zip(unknowns, bounds, strict=False))
    return Statement(
        canonical=f"{len(unknowns)}{sense}:{n}:{joined(sorted(bounds))}",
        text=f"Let $N$ be the number of solutions of ${' + '.join(unknowns)} = {n}$ in nonnegative integers "
        f"with {where}. Find the remainder when $N$ is divided by $1000$.",
        terse=f"solutions {'+'.join(unknowns)}={n},{short} mod 1000",
    )


def _derive_solutions(params: Params, work: Derivation) -> int:
    """Stars and bars; a greatest value is undone by inclusion and exclusion."""
    level, n, *bounds = params
    bars = 2 if level in (1, 2, 4) else 3
    if level <= 3:
        for bound in bounds:
            n = work.sub(n, bound)
        return work.mod(work.choose(work.add(n, bars), bars), 1000)
    total = work.choose(work.add(n, bars), bars)
    over = [work.add(bound, 1) for bound in bounds]
    beyond = [work.choose(work.add(work.sub(n, least), bars), bars) for least in over if least <= n]
    if len(over) == 2 and sum(over) <= n:
        total = work.add(total, work.choose(work.add(work.sub(n, work.add(*over)), bars), bars))
    return work.mod(work.sub(total, work.total(beyond)), 1000)


FAMILIES = (
    Family("multiples", TOPIC, _draw_multiples, _state_multiples, _derive_multiples),
    Family("committee", TOPIC, _draw_committee, _state_committee, _derive_committee),
    Family("solutions", TOPIC, _draw_solutions, _state_solutions, _derive_solutions),
    Family("league", TOPIC, _draw_league, _state_league, _derive_league),
)
