"""Values that pass between a program and its tests, as text: plain data and nothing else.

A program's process may send any bytes; what `decode` makes of them is None, bool, int, float, complex, str,
bytes, list, tuple, set, frozenset or dict, each exactly of that type: no method of the program's is called.
"""

from __future__ import annotations

import json
from typing import Any

PLAIN = (None.__class__, bool, str, float)
_LARGE = 1 << 13_000  # Python's JSON reads 4,300 decimal digits; larger integers are written in base 16
_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class NotData(ValueError):
    """A value that is not plain data, or bytes that are no encoded value."""


def encode(value: Any) -> str:
    """One line of ASCII. A subclass goes as the plain type that it derives from.

    Raises NotData for anything else, and for what is nested too deeply.
    """
    try:
        return json.dumps(_tree(value))
    except (RecursionError, TypeError, ValueError) as error:
        raise NotData(f"no plain data ({type(error).__name__})") from None


def decode(text: str | bytes) -> Any:
    """The value of a line of `encode`. Raises NotData."""
    try:
        return _value(json.loads(text))
    except (RecursionError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise NotData(f"no encoded value ({type(error).__name__})") from None


def _tree(value: Any) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        whole = int.__index__(value)
        return whole if -_LARGE < whole < _LARGE else {"int": f"{whole:x}"}
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {"dict": [[_tree(k), _tree(v)] for k, v in dict.items(value)]}
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            return {name: [_tree(item) for item in value]}
    raise TypeError(type(value).__name__)


def _value(tree: Any) -> Any:
    if isinstance(tree, PLAIN) or type(tree) is int:
        return tree
    if not isinstance(tree, dict) or len(tree) != 1:
        raise ValueError("not a tagged value")
    ((tag, content),) = tree.items()
    if tag == "int":
        return int(content, 16)
    if tag == "complex":
        real, imag = map(float, content)
        return complex(real, imag)
    if tag == "bytes":
        return bytes.fromhex(content)
    if not isinstance(content, list):
        raise TypeError("a sequence is a list")
    if tag == "dict":
        return {_value(k): _value(v) for k, v in content}
    return _SEQUENCES[tag](_value(item) for item in content)
