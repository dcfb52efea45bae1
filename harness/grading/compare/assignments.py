r"""Labelled values, `x = 1, y = 2` and `(x, y) = (1, 2)`, as tuples in the order that their labels say.

Labels that follow each other in the alphabet (`x, y, z`, `a, b`, `x_1, x_2`) are sorted, so `y = 2, x = 1` is
`(1, 2)`. Other labels (`m, b`) count as written if they ascend; else their order is unknown, and they are no
tuple.
"""

from __future__ import annotations

import re

from harness.grading.compare.quantities import TEXT_COMMAND

_GREEK = re.findall(r"\w+", "alpha beta gamma delta theta lambda mu phi omega")
_LABEL = rf"(?:[A-Za-z]|\\(?:{'|'.join(_GREEK)}))(?:_(?:\w|\{{\w{{1,3}}\}}))?"
_LABELS = re.compile(rf"\(\s*({_LABEL}(?:\s*,\s*{_LABEL})+)\s*\)\s*=\s*\((.+)\)", re.DOTALL)
_ASSIGNMENT = re.compile(rf"\s*({_LABEL})\s*=\s*([^=<>]+?)\s*")
_AND = re.compile(rf"\s*,?\s*(?:{TEXT_COMMAND}\s*\{{\s*,?\s*and\s*\}}|\band\b|;|\\\\)\s*")
_SEVERAL = re.compile(r"\([^=]+,[^=]+\)|[^=()\[\]{}]+(?:,[^=()\[\]{}]+)+")  # `(1, 2)` or `1, 2`


def aligned(gold: str, pred: str) -> tuple[str, str] | None:
    """Both as tuples in one order where one has labels and the other may; None if that order is unknown."""
    if "=" not in gold + pred:
        return gold, pred
    golds, preds = labelled(gold), labelled(pred)
    if golds and preds:
        if golds.keys() == preds.keys():
            return _tuple(golds, golds), _tuple(preds, golds)
    elif golds and _SEVERAL.fullmatch(pred):
        return _tuple(golds, golds if _LABELS.fullmatch(gold) else order(golds) or golds), pred
    elif preds and _SEVERAL.fullmatch(gold):
        names = order(preds)
        return (gold, _tuple(preds, names)) if names else None
    return gold, pred


def as_tuple(normalised: str) -> str:
    """Labelled values as a tuple if their order is known, any other text as it is."""
    values = labelled(normalised) if "=" in normalised else None
    names = order(values) if values else None
    return _tuple(values, names) if values and names else normalised


def labelled(normalised: str) -> dict[str, str] | None:
    """The values by label, in the order written; None for any other text and for a label that comes twice."""
    if several := _LABELS.fullmatch(normalised):
        names, values = (_split(part) for part in several.groups())
    else:
        whole = normalised[1:-1] if normalised[:1] == "(" and normalised.endswith(")") else normalised
        pairs = [_ASSIGNMENT.fullmatch(part) for part in _split(_AND.sub(",", whole))]
        names, values = [], []
        for pair in pairs:
            if pair is None:
                return None
            names.append(pair[1])
            values.append(pair[2])
    return dict(zip(names, values, strict=True)) if 1 < len(names) == len(values) == len(set(names)) else None


def order(values: dict[str, str]) -> list[str] | None:
    """The labels in their conventional order; None if there is none and they do not ascend as written."""
    ranks = {name: _rank(name) for name in values}
    names = sorted(values, key=ranks.__getitem__)
    (first, low), (last, high) = ranks[names[0]], ranks[names[-1]]
    together = first == last or (low == high == 0 and last - first == len(names) - 1)
    return names if together or names == list(values) else None


def _rank(name: str) -> tuple[int, int]:
    """The place of a label in the alphabet: its letter (capitals, Greek apart), then its subscript."""
    letter, _, subscript = name.partition("_")
    index = _GREEK.index(letter[1:]) + 1000 if letter[0] == "\\" else ord(letter)
    subscript = subscript.strip("{}")
    return index, int(subscript) if subscript.isdecimal() else ord(subscript[0]) if subscript else 0


def _tuple(values: dict[str, str], names: dict[str, str] | list[str]) -> str:
    return f"({','.join(values[name] for name in names)})"


def _split(text: str) -> list[str]:
    """`text` at the commas outside brackets."""
    depth, start, parts = 0, 0, []
    for i, char in enumerate(text):
        depth += (char in "{([") - (char in "})]")
        if char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]
