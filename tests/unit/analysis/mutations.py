"""Damage to a file by chance: cut, flipped, replaced, or a value in it of another kind. Seeded."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = (True, -1, 0, 3.5, 10**30, 10**400, float("nan"), float("inf"), -1e308)
TEXTS = ("", "text", "\x1b[31mred\x07", "<script>alert(1)</script>", "=1+2", "../etc", "\x00", "\ud800", "²")
VALUES = (None, *NUMBERS, *TEXTS, "9" * 300, [], {}, [[]], [None], {"a": 1}, [1, "two", None])
WHOLE = (b"", b"null", b"[]", b"3", b'"text"', b"{}", b"\xff\xfe", b"{" * 5000, b"[" * 50_000, b"\x00" * 64)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One mutation of a text file, JSON or a JSON object a line."""
    kind = rng.randrange(8)
    at = rng.randrange(len(data)) if data else 0
    if kind == 0:
        return data[:at]
    if kind == 1 and data:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 2:
        return rng.choice(WHOLE)
    if kind == 3:
        return data[:at] + rng.choice(WHOLE) + data[at:]
    lines = data.split(b"\n")
    if kind == 4:  # lines lost, twice, or in another order
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[first] = rng.choice((lines[second], b"", lines[second] + lines[first], b"null"))
        return b"\n".join(lines)
    return _other_value(data, lines, rng)


def _other_value(data: bytes, lines: list[bytes], rng: random.Random) -> bytes:
    """A value somewhere in the JSON replaced, dropped, or put under another name."""
    try:
        value = json.loads(data)
    except ValueError:
        place = rng.randrange(len(lines))
        try:
            lines[place] = json.dumps(_changed(json.loads(lines[place]), rng)).encode()
        except ValueError:
            lines[place] = b"null"
        return b"\n".join(lines)
    return json.dumps(_changed(value, rng)).encode()


def _changed(value: Any, rng: random.Random) -> Any:
    """A value at a random depth, replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: inner for key, inner in value.items() if key != name}
        if rng.random() < 0.1:
            return {
                (rng.choice(("\x1b[2J", "²", "step", "=x")) if k == name else k): v for k, v in value.items()
            }
        return value | {name: _changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value[:place] + value[place + 1 :]
        return [*value[:place], _changed(value[place], rng), *value[place + 1 :]]
    return rng.choice(VALUES)
