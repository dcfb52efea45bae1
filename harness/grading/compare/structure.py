r"""What an answer is made of: one value, a list, a set, a tuple, a matrix, or a part of the real line.

`read` splits a text at its outermost brackets and separators; `same` compares two of them part by part, down
to single values. `2 \le x < 5` and `[2,5)` are parts of the line, `\{1,2\}` and `1 \text{ or } 2` are sets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from harness.grading.compare.quantities import TEXT_COMMAND
from harness.grading.compare.symbolic import real

MAX_ITEMS = 32
SIGN = r"<=|>=|<|>|\\(?:leq?|geq?|lt|gt)(?![A-Za-z])"


def _word(word: str, sign: str) -> str:
    """A pattern for a word of a list, plain or in `\\text{}`, or its sign."""
    text = rf"{TEXT_COMMAND}\s*\{{\s*,?\s*{word}\s*,?\s*\}}"
    return rf"\s*,?\s*(?:{text}|(?<![A-Za-z\\]){word}(?![A-Za-z])|\\{sign}(?![A-Za-z]))\s*,?\s*"


_OR, _AND = re.compile(_word("or", "lor")), re.compile(_word("and", "land"))
_SEPARATOR = re.compile(rf"{_OR.pattern}|{_AND.pattern}|[,;]")
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])")
_MATRIX = re.compile(
    r"[\[(]?\s*\\begin\{(?:[pbvBV]?(?:small)?matrix|array|cases)\}(?:\{[lcr|]*\})?(.*)\\end\{[A-Za-z]+\}\s*[\])]?",
    re.DOTALL,
)
_LABELLED = re.compile(r"\s*(?:[A-Za-z](?:_\{?\w+\}?)?|\([A-Za-z, ]+\))\s*=\s*([^=<>]+)")
_OPEN, _CLOSE = "⟨([{", "⟩)]}"


@dataclass(frozen=True, slots=True)
class Form:
    """`kind` is one, list, set, tuple or matrix; `ends` are a tuple's brackets, a matrix's row length."""

    kind: str
    items: list[str]
    ends: str = ""


def split(text: str, at: re.Pattern[str] = _SEPARATOR) -> list[str]:
    """`text` at the separators outside brackets."""
    if at.search(text) is None:
        return [text.strip()]
    marked = text.replace(r"\{", "⟨").replace(r"\}", "⟩")
    depth, start, parts, end = 0, 0, [], 0
    depths = []
    for char in marked:
        depth += (char in _OPEN) - (char in _CLOSE)
        depths.append(depth)
    for match in at.finditer(marked):
        if match.start() >= end and (depths[match.start() - 1] if match.start() else 0) == 0:
            parts.append(marked[start : match.start()])
            start = end = match.end()
    parts.append(marked[start:])
    return [part.replace("⟨", r"\{").replace("⟩", r"\}").strip() for part in parts]


def inside(text: str) -> tuple[str, str] | None:
    r"""(`{}`, `1,2`) of `\{1,2\}`, (`[)`, ...) of an interval; None unless one pair holds it all."""
    marked = text.replace(r"\{", "⟨").replace(r"\}", "⟩")
    if len(marked) < 2 or marked[0] not in "⟨([" or marked[-1] not in "⟩)]":
        return None
    depth = 0
    for i, char in enumerate(marked):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and i < len(marked) - 1:
            return None
    ends = (marked[0] + marked[-1]).replace("⟨", "{").replace("⟩", "}")
    if ("{" in ends) != ("}" in ends) or depth:
        return None
    return ends, marked[1:-1].replace("⟨", r"\{").replace("⟩", r"\}").strip()


def read(text: str) -> Form:
    """The outermost form of a normalised text."""
    text = text.strip()
    if text == r"\emptyset":
        return Form("set", [])
    if text.count(r"\begin") == 1 and (matrix := _MATRIX.fullmatch(text)):
        rows = [row.split("&") for row in re.split(r"\\\\", matrix[1].strip().removesuffix(r"\\"))]
        if rows == [row[:1] for row in rows[:1]]:
            return read(rows[0][0])
        if len({len(row) for row in rows}) == 1:
            return Form("matrix", [cell.strip() for row in rows for cell in row], str(len(rows[0])))
    if group := inside(text):
        ends, inner = group
        items = [item for part in split(inner) for item in _signed(part)]
        if ends == "{}":
            return Form("set", items)
        if len(items) == 1 and not split(inner, _SEPARATOR)[1:]:
            return read(inner) if ends in ("()", "[]") else Form("one", [text])
        return Form("tuple", items, ends)
    parts = split(text) if not _THOUSANDS.fullmatch(text) else [text]
    items = [item for part in parts for item in _signed(_unlabelled(part) if len(parts) > 1 else part)]
    if len(items) == 1:
        return Form("one", items)
    return Form("set" if len(items) > len(parts) or len(split(text, _OR)) > 1 else "list", items)


def _unlabelled(part: str) -> str:
    match = _LABELLED.fullmatch(part)
    return match[1].strip() if match else part


def _signed(text: str) -> list[str]:
    r"""`1+\sqrt2` and `1-\sqrt2` of `1 \pm \sqrt2`; both signs in one text belong together."""
    found = re.findall(r"\\(?:pm|mp)(?![A-Za-z])", text)
    if not found or len(found) > 4 or inside(text):
        return [text]
    if len(set(found)) == 2:
        return [re.sub(r"\\pm", a, re.sub(r"\\mp", b, text)) for a, b in ("+-", "-+")]
    texts = [text]
    for _ in found:
        texts = [re.sub(r"\\(?:pm|mp)(?![A-Za-z])", sign, t, count=1) for t in texts for sign in "+-"]
    return texts


def same(gold: Form, pred: Form, equal: Callable[[str, str], bool]) -> bool:
    """Whether two forms hold the same values; order counts in a tuple, repeats in a list."""
    for one, other in ((gold, pred), (pred, gold)):
        if one.kind == "set" and len(one.items) == 1 and other.kind != "set":  # a set of one is that one
            inner = read(one.items[0])
            if inner.kind in ("one", "tuple"):
                return same(inner, other, equal) if one is gold else same(other, inner, equal)
    kinds = {gold.kind, pred.kind}
    if max(len(gold.items), len(pred.items)) > MAX_ITEMS or "" in gold.items + pred.items:
        return False
    if kinds == {"one"}:
        return equal(gold.items[0], pred.items[0])
    if kinds in ({"tuple"}, {"tuple", "list"}, {"matrix"}):
        return (
            _alike(gold, pred)
            and len(gold.items) == len(pred.items)
            and all(map(equal, gold.items, pred.items))
        )
    if not kinds <= {"set", "list"}:
        return False
    if gold.kind == "list":
        return len(gold.items) == len(pred.items) and _matched(gold.items, pred.items, equal)
    return all(any(equal(g, p) for p in pred.items) for g in gold.items) and all(
        any(equal(g, p) for g in gold.items) for p in pred.items
    )


def _alike(gold: Form, pred: Form) -> bool:
    """Whether two ordered forms of one length may be one: `[2,-1]` is no way to write a point."""
    if gold.kind == pred.kind == "tuple" and len(gold.items) > 2:
        return True
    if "list" in (gold.kind, pred.kind):
        return gold.kind == "list" or gold.ends == "()"
    return gold.ends == pred.ends


def _matched(golds: list[str], preds: list[str], equal: Callable[[str, str], bool]) -> bool:
    left = list(preds)
    for gold in golds:
        place = next((i for i, pred in enumerate(left) if equal(gold, pred)), None)
        if place is None:
            return False
        del left[place]
    return True


# Parts of the line. A cut is (value, 0) just before a value or (value, 1) just after it, and a part is a
# sorted list of cuts at which one goes in and out: [2,5) is [(2,0), (5,0)], the point 3 is [(3,0), (3,1)].
Cut = tuple[Fraction | float, int]
_REALS = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:the set of )?all (?:real numbers|reals)(?: [a-z])?\s*\}}?",
    re.IGNORECASE,
)
_BUILDER = re.compile(
    r"\\\{\s*[A-Za-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:[:|]|\\mid(?![A-Za-z]))\s*(.+?)\s*\\\}"
)
_MEMBER = re.compile(r"([A-Za-z])\s*\\(in|notin|not\s*\\in)(?![A-Za-z])\s*(.+)")
_EXCEPT = re.compile(r"([A-Za-z])\s*\\neq?(?![A-Za-z])\s*([^<>=,]+)")
_UNION = re.compile(rf"\\cup(?![A-Za-z])|{_OR.pattern}")
_MINUS = re.compile(r"\\setminus(?![A-Za-z])|\\backslash(?![A-Za-z])")
_LINE: list[Cut] = [(-math.inf, 1), (math.inf, 0)]
_OUTWARD = re.compile(r"([\[\](])([^\[\](),;]+[,;][^\[\](),;]+)([\[\])])")
_IS_REGION = re.compile(
    rf"{SIGN}|\\(?:cup|cap|setminus|mathbb|notin|neq?|infty)(?![A-Za-z])|(?i:all re)|[\[\]]"
)


def region(text: str) -> tuple[str, list[Cut]] | None:
    """(variable or "", cuts) of a part of the real line: intervals, their unions, inequalities; else None."""
    if _IS_REGION.search(text) is None and inside(text) is None:
        return None
    parts = [_piece(part) for part in split(text, _UNION)]
    names = {part[0] for part in parts if part and part[0]}
    if None in parts or len(names) > 1:
        return None
    cuts: list[Cut] = []
    for part in parts:
        cuts = _combine(cuts, part[1], any) if part else cuts
    return (names.pop() if names else ""), cuts


def _combine(a: list[Cut], b: list[Cut], rule: Callable[[list[bool]], bool]) -> list[Cut]:
    """Cuts of the part whose points in a, in b or in both satisfy `rule`."""
    found: list[Cut] = []
    for cut in sorted({*a, *b}):
        within = rule([sum(c <= cut for c in cuts) % 2 == 1 for cuts in (a, b)])
        if within != (len(found) % 2 == 1):
            found.append(cut)
    return found


def _piece(text: str) -> tuple[str, list[Cut]] | None:
    """A part of the line without unions."""
    if text == r"\mathbb{R}" or _REALS.fullmatch(text):
        return "", _LINE
    if builder := _BUILDER.fullmatch(text):
        return region(builder[1])
    if member := _MEMBER.fullmatch(text):
        of = region(member[3])
        if member[2] == "in" or of is None:
            return of and (member[1], of[1])
        return member[1], _combine(_LINE, of[1], lambda within: within[0] and not within[1])
    if but := _EXCEPT.fullmatch(text):
        values = [real(value) for value in split(but[2])]
        return (
            (but[1], _combine(_LINE, _points(values), lambda w: w[0] and not w[1]))
            if None not in values
            else None
        )
    if len(parts := split(text, _MINUS)) == 2:
        whole, hole = map(region, parts)
        return whole and hole and (whole[0], _combine(whole[1], hole[1], lambda w: w[0] and not w[1]))
    if group := inside(text):
        return _bracketed(*group)
    return _inequalities(text)


def _points(values: list[Fraction | float | None]) -> list[Cut]:
    return sorted({(value, side) for value in values if value is not None for side in (0, 1)})


def _bracketed(ends: str, inner: str) -> tuple[str, list[Cut]] | None:
    values = [real(item) for item in split(inner)]
    if None in values or not values:
        return None
    if ends == "{}":
        return "", _points(values)
    if len(values) != 2 or not values[0] < values[1]:  # type: ignore[operator]
        return None
    return "", [(values[0], int(ends[0] == "(")), (values[1], int(ends[1] == "]"))]  # type: ignore[list-item]


def _inequalities(text: str) -> tuple[str, list[Cut]] | None:
    r"""`2 \le x < 5`, `x > 2 \text{ and } x < 5`, `x > -3, x \le 4`, `|x| < 2`."""
    name, cuts = "", _LINE
    for part in (p for piece in split(text, _AND) for p in split(piece, re.compile(","))):
        signs = re.findall(SIGN, part)
        sides = [side.strip() for side in re.split(SIGN, part)]
        if len(signs) not in (1, 2):
            return None
        at = next((i for i, side in enumerate(sides) if re.fullmatch(r"\|?\s*[A-Za-z]\s*\|?", side)), None)
        if at is None or (len(signs) == 2 and (at != 1 or _up(signs[0]) != _up(signs[1]))):
            return None
        if name not in ("", sides[at].strip("| ")):
            return None
        name = sides[at].strip("| ")
        for i, sign in enumerate(signs):
            other = real(sides[i] if i < at else sides[i + 1])
            if other is None:
                return None
            below = _up(sign) == (i >= at)  # the variable is below the other side
            found = _beside(other, sign, below=below)
            if sides[at][0] == "|":
                mirrored = [(-value, 1 - side) for value, side in reversed(found)]
                found = _combine(found, sorted(mirrored), all if below else any)
            cuts = _combine(cuts, found, all)
    return (name, cuts) if cuts else None


def _beside(value: Fraction | float, sign: str, *, below: bool) -> list[Cut]:
    closed = sign not in ("<", ">", r"\lt", r"\gt") and not math.isinf(value)
    return [_LINE[0], (value, int(closed))] if below else [(value, int(not closed)), _LINE[1]]


def _up(sign: str) -> bool:
    return sign[0] == "<" or sign.startswith(r"\l")


def written_inward(text: str) -> str:
    """`]1,2]` as `(1,2]`."""
    if "[" not in text and "]" not in text:
        return text
    return _OUTWARD.sub(lambda m: f"{'(' if m[1] == ']' else m[1]}{m[2]}{')' if m[3] == '[' else m[3]}", text)
