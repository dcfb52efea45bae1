r"""What brackets and inequalities mean: sets, tuples, intervals; `2 \le x < 5` is `[2,5)`."""

from __future__ import annotations

import re
from collections import Counter

from harness.grading.compare.quantities import TEXT_COMMAND, parse_number

INEQUALITY_SIGN = r"<=|>=|<|>|\\(?:leq?|geq?|lt|gt)(?![A-Za-z])"
_SEVERAL = re.compile(r"\\pm(?![A-Za-z])|\bor\b")
_LISTED_SETS = re.compile(r"\\\}\s*,\s*\\\{")
_SET_OPERATION = re.compile(r"\\(?:cup|cap|setminus|mid)(?![A-Za-z])|[:|]")


def group(normalised: str) -> tuple[str, list[str]] | None:
    r"""(`{`, [`1`, `2`]) of `\{1,2\}`, (`(`, ...) of a tuple or interval; None for what is no group."""
    text = normalised.replace(r"\{", "⟨").replace(r"\}", "⟩")
    if text[:1] not in ("⟨", "(", "[") or text[-1:] not in ("⟩", ")", "]"):
        return None
    depth, start, elements = 0, 1, []
    for i, char in enumerate(text):
        depth += (char in "⟨{([") - (char in "⟩})]")
        if depth == 0 and i < len(text) - 1:
            return None
        if (depth == 1 and char in ",;") or i == len(text) - 1:
            elements.append(text[start:i].replace("⟨", r"\{").replace("⟩", r"\}").strip())
            start = i + 1
    return ("{" if text[0] == "⟨" else "("), elements


def elements(normalised: str) -> tuple[str, list[str]] | None:
    r"""`group`, also of a list of sets, `\{1\}, \{2\}`. The elements are shorter than the text."""
    listed = group(rf"\{{{normalised}\}}") if _LISTED_SETS.search(normalised) else None
    return group(normalised) or (listed if listed and len(listed[1]) > 1 else None)


def has_nested_set(normalised: str) -> bool:
    r"""Whether there is a set of sets, `\{1,\{2\}\}` or `\{1\}, \{2\}`; no union and no description."""
    if r"\{" not in normalised or _SET_OPERATION.search(normalised):
        return False
    if _LISTED_SETS.search(normalised):
        return True
    depth = 0
    for char in normalised.replace(r"\{", "⟨").replace(r"\}", "⟩"):
        if char == "⟨" and depth > 0:
            return True
        depth += (char in "⟨([") - (char in "⟩)]")
    return False


def brackets_differ(gold: str, pred: str) -> bool:
    r"""Whether one is a set of several, `\{1,2\}` or `\pm 2`, the other a tuple or an interval, `(1,2)`."""
    return {_mark(gold), _mark(pred)} == {"(", "{"}


def _mark(text: str) -> str:
    found = group(text) if "," in text else None
    if found is None and _SEVERAL.search(text):
        return "{"
    if found and found[0] == "{" and len(found[1]) == 1:
        found = group(found[1][0])  # a set of one pair is that pair
    return found[0] if found and len(found[1]) > 1 else ""


_CLOSED_INFINITY = re.compile(r"\[\s*[-+]?\s*(?:\\infty|inf)|(?:\\infty|inf(?:inity)?)\s*\]")
_UNITED = re.compile(r"\\(?:cup|cap|setminus)(?![A-Za-z])")


def ends_differ(gold: str, pred: str) -> bool:
    r"""Whether brackets say that ends belong or do not: `[0,\infty]` for `[0,\infty)`, `[2,-1]` for a point.

    `[2,-1]` is no interval, and no way to write a point either. Brackets around three or more say an order
    alone, and intervals of a union may be cut elsewhere.
    """
    if "[" not in gold + pred and "]" not in gold + pred:
        return False
    if _CLOSED_INFINITY.search(pred) and not _CLOSED_INFINITY.search(gold):
        return True
    if _UNITED.search(gold) or _UNITED.search(pred):
        return False
    golds, preds = _pairs(gold), _pairs(pred)
    return golds.total() == preds.total() and golds != preds


def _pairs(text: str) -> Counter[str]:
    """How often each kind of brackets, `(]`, stands around two elements."""
    found: Counter[str] = Counter()
    opened: list[tuple[str, int]] = []
    for char in text.replace(r"\{", "{").replace(r"\}", "}"):
        if char in "{([":
            opened.append((char, 0))
        elif char in ",;" and opened:
            opened[-1] = (opened[-1][0], opened[-1][1] + 1)
        elif char in "})]" and opened:
            start, commas = opened.pop()
            if commas == 1 and start + char not in ("{}", "{)", "{]"):
                found[start + char] += 1
    return found


_LIST_SEPARATOR = re.compile(
    rf",?\s*(?:{TEXT_COMMAND}\s*\{{\s*,?\s*(?:or|and)\s*\}}|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z]))\s*"
)
_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")


def listed(normalised: str) -> list[str]:
    """What a list without brackets lists, `1, 2 and 3`; the text itself where it is no list."""
    if group(normalised):
        return [normalised]
    found = group(f"({_LIST_SEPARATOR.sub(',', normalised)})")
    return [part for part in found[1] if part] if found else [normalised]


def repeats_differ(gold: str, pred: str) -> bool:
    r"""Whether lists repeat values differently: `75, 75` is not `75` nor `75, 75, 75`; sets repeat none."""
    golds, preds = listed(gold), listed(pred)
    if len(golds) == len(set(golds)) and len(preds) == len(set(preds)):
        return False
    if r"\pm" in gold + pred or any(map(_THOUSANDS.search, (gold, pred))) or group(gold) or group(pred):
        return False
    a, b = ([parse_number(part) for part in parts] for parts in (golds, preds))
    return len(a) != len(b) or (None not in a + b and Counter(a) != Counter(b))


_OR = re.compile(rf"\s*(?:{TEXT_COMMAND}\s*\{{\s*or\s*\}}|\bor\b|\\lor(?![A-Za-z])|\\cup(?![A-Za-z]))\s*")
_AND = re.compile(rf"\s*(?:{TEXT_COMMAND}\s*\{{\s*and\s*\}}|\band\b|\\land(?![A-Za-z]))\s*")
_BUILDER = re.compile(r"\\\{\s*[A-Za-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:[:|]|\\mid)\s*(.+?)\s*\\\}")
_BETWEEN = re.compile(rf"(.+?)\s*({INEQUALITY_SIGN})\s*([A-Za-z])\s*({INEQUALITY_SIGN})\s*(.+)")
_ABOVE_OR_BELOW = re.compile(rf"([^<>]+?)\s*({INEQUALITY_SIGN})\s*([^<>]+)")
_VARIABLE = re.compile(r"[A-Za-z]")
_EXCEPT = re.compile(r"([A-Za-z])\s*\\neq?(?![A-Za-z])\s*([^<>=,]+)")
_OUTWARD = re.compile(r"\](?=[^()\[\]]+,)([^()\[\]]+)([\[\])])|([(\[])(?=[^()\[\]]+,)([^()\[\]]+)\[")
_EITHER = re.compile(rf"(?<=[)\]])\s*,?\s*(?:{TEXT_COMMAND}\s*\{{\s*or\s*\}}|\bor\b)\s*(?=[(\[])")
_REALS = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:the set of )?all (?:real numbers|reals)(?: [a-z])?\s*\}}?",
    re.IGNORECASE,
)


def written_inward(normalised: str) -> str:
    r"""`]1,2]` as `(1,2]`, and `all real numbers` as `\mathbb{R}`."""
    if _REALS.fullmatch(normalised):
        return r"\mathbb{R}"
    if "[" not in normalised and "]" not in normalised:
        return normalised
    return _OUTWARD.sub(
        lambda m: f"({m[1]}{')' if m[2] == '[' else m[2]}" if m[1] else f"{m[3]}{m[4]})", normalised
    )


def united(normalised: str) -> str:
    r"""`(1,2) or (3,4)` as `(1,2)\cup (3,4)`."""
    return _EITHER.sub(r"\\cup ", normalised)


def intervals(normalised: str) -> tuple[str, str] | None:
    r"""(variable, union) of inequalities: `x < 2 or x \ge 3` is `(-\infty,2)\cup[3,\infty)`."""
    if builder := _BUILDER.fullmatch(normalised):
        normalised = builder[1]
    pieces = [_interval(part) or _both(part) for part in _OR.split(normalised)]
    if any(piece is None for piece in pieces):
        return None
    names = {piece[0] for piece in pieces if piece}
    return (names.pop(), r"\cup".join(piece[1] for piece in pieces if piece)) if len(names) == 1 else None


def _both(text: str) -> tuple[str, str] | None:
    """`x > 2 and x < 5`."""
    parts = [_interval(part) for part in _AND.split(text)]
    if len(parts) != 2 or parts[0] is None or parts[1] is None or parts[0][0] != parts[1][0]:
        return None
    upper, lower = sorted(
        (part[1] for part in parts if part), key=lambda ends: not ends.startswith(r"(-\infty,")
    )
    if not upper.startswith(r"(-\infty,") or not lower.endswith(r",\infty)"):
        return None
    return parts[0][0], lower.removesuffix(r"\infty)") + upper.removeprefix(r"(-\infty,")


def _interval(text: str) -> tuple[str, str] | None:
    text = text.strip()
    if between := _BETWEEN.fullmatch(text):
        low, first, name, second, high = between.groups()
        if _points_up(first) != _points_up(second):
            return None
        if not _points_up(first):
            low, first, second, high = high, second, first, low
        ends = parse_number(low), parse_number(high)
        if ends[0] is not None and ends[1] is not None and ends[0] >= ends[1]:
            return None  # `2 < x < -1` is empty, or a slip, and not the point (2,-1)
        left = "(" if "infty" in low else _open(first, "(", "[")
        right = ")" if "infty" in high else _open(second, ")", "]")
        return name, f"{left}{low},{high}{right}"
    if but := _EXCEPT.fullmatch(text):
        return but[1], rf"(-\infty,{but[2]})\cup({but[2]},\infty)"
    one = _ABOVE_OR_BELOW.fullmatch(text)
    if one is None:
        return None
    left, sign, right = one.groups()
    if _VARIABLE.fullmatch(left):
        name, end, below = left, right, _points_up(sign)
    elif _VARIABLE.fullmatch(right):
        name, end, below = right, left, not _points_up(sign)
    else:
        return None
    return (
        name,
        rf"(-\infty,{end}{_open(sign, ')', ']')}" if below else rf"{_open(sign, '(', '[')}{end},\infty)",
    )


def _points_up(sign: str) -> bool:
    return sign[0] == "<" or sign.startswith(r"\l")


def _open(sign: str, strict: str, closed: str) -> str:
    return strict if sign in ("<", ">", r"\lt", r"\gt") else closed
