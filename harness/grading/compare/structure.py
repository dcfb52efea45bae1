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
from itertools import accumulate

from harness.grading.compare.quantities import TEXT_COMMAND
from harness.grading.compare.symbolic import real

MAX_ITEMS = 32
SIGN = "[<>]=?"  # the only ones after normalisation


def _word(word: str, sign: str) -> str:
    """A pattern for a word of a list, plain or in `\\text{}`, or its sign."""
    text = rf"{TEXT_COMMAND}\s*\{{\s*,?\s*{word}\s*,?\s*\}}"
    return rf"\s*,?\s*(?:{text}|(?<![A-Za-z\\]){word}(?![A-Za-z])|\\{sign}(?![A-Za-z]))\s*,?\s*"


_OR, _AND = _word("or", "lor"), _word("and", "land")
_SEPARATOR = rf"{_OR}|{_AND}|[,;]"
_UNION = r"\\cup(?![A-Za-z])"
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])")
_MATRIX = re.compile(
    r"[\[(]?\s*\\begin\{(?:[pbvBV]?(?:small)?matrix|array|cases)\}(?:\{[lcr|]*\})?(.*)\\end\{[A-Za-z]+\}\s*[\])]?",
    re.DOTALL,
)
_LABEL = re.compile(r"\A(?:[A-Za-z](?:_\{?\w+\}?)?|\([A-Za-z, ]+\))\s*=\s*(?=[^=<>]+\Z)")


@dataclass(frozen=True, slots=True)
class Form:
    """`kind` is one, list, set, tuple or matrix; `ends` a tuple's brackets, a matrix's row length."""

    kind: str
    items: list[str]
    ends: str = ""


def _marked(text: str) -> tuple[str, list[int]]:
    """The text with ⟨⟩ for the braces of sets, and how many brackets are open before each character."""
    marked = text.replace(r"\{", "⟨").replace(r"\}", "⟩")
    return marked, list(accumulate(((c in "⟨([{") - (c in "⟩)]}") for c in marked), initial=0))


def _plain(marked: str) -> str:
    return marked.replace("⟨", r"\{").replace("⟩", r"\}").strip()


def split(text: str, at: str = _SEPARATOR) -> list[str]:
    """`text` at the separators outside brackets."""
    marked, depths = _marked(text)
    spans = [match.span() for match in re.finditer(at, marked) if depths[match.start()] == 0]
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(marked)]
    return [_plain(marked[start:end]) for start, end in zip(starts, ends, strict=True)]


def inside(text: str) -> tuple[str, str] | None:
    r"""(`{}`, `1,2`) of `\{1,2\}`, (`[)`, ...) of an interval; None unless one pair holds it all."""
    marked, depths = _marked(text)
    if marked[:1] not in [*"⟨(["] or marked[-1] not in "⟩)]" or depths[-1] or 0 in depths[1:-1]:
        return None
    if (marked[0] == "⟨") != (marked[-1] == "⟩"):
        return None
    return _plain(marked[0] + marked[-1]).replace("\\", ""), _plain(marked[1:-1])


def read(text: str) -> Form:
    """The outermost form of a normalised text."""
    text = text.strip()
    if text == r"\emptyset":
        return Form("set", [])
    if text.count(r"\begin") == 1 and (matrix := _MATRIX.fullmatch(text)):
        rows = [row.split("&") for row in matrix[1].strip().removesuffix(r"\\").split(r"\\")]
        if len(rows) == len(rows[0]) == 1:
            return read(rows[0][0])
        if len({len(row) for row in rows}) == 1:
            return Form("matrix", [cell.strip() for row in rows for cell in row], str(len(rows[0])))
    if group := inside(text):
        ends, inner = group
        items = [item for part in split(inner) for item in _signed(part)]
        if ends == "{}":
            return Form("set", items)
        if len(items) == 1:
            return read(inner) if ends in ("()", "[]") else Form("one", [text])
        return Form("tuple", items, ends)
    parts = [text] if _THOUSANDS.fullmatch(text) else split(text)
    items = [item for part in parts for item in _signed(_LABEL.sub("", part) if len(parts) > 1 else part)]
    if len(items) == 1:
        return Form("one", items)
    return Form("set" if len(items) > len(parts) or len(split(text, _OR)) > 1 else "list", items)


def _signed(text: str) -> list[str]:
    r"""`1+\sqrt2` and `1-\sqrt2` of `1 \pm \sqrt2`; all signs of one text belong together."""
    if inside(text) or not re.search(r"\\(?:pm|mp)(?![A-Za-z])", text):
        return [text]
    return [text.replace(r"\pm", a).replace(r"\mp", b) for a, b in ("+-", "-+")]


def same(gold: Form, pred: Form, equal: Callable[[str, str], bool]) -> bool:
    """Whether two forms hold the same values; order counts in a tuple, repeats in a list."""
    gold, pred = _opened(gold, pred), _opened(pred, gold)
    kinds, together = {gold.kind, pred.kind}, gold.items + pred.items
    if len(together) > 2 * MAX_ITEMS or "" in together:
        return False
    if kinds in ({"one"}, {"tuple"}, {"tuple", "list"}, {"matrix"}):
        long = gold.kind == pred.kind == "tuple" and len(gold.items) > 2
        return (
            (long or gold.ends in ("", pred.ends or "()"))  # `[2,-1]` is no way to write a point
            and len(gold.items) == len(pred.items)
            and all(map(equal, gold.items, pred.items))
        )
    if not kinds <= {"set", "list"}:
        return False
    if gold.kind != "list":
        return all(any(equal(g, p) for p in pred.items) for g in gold.items) and all(
            any(equal(g, p) for g in gold.items) for p in pred.items
        )
    left = list(pred.items)
    for item in gold.items:
        if (found := next((other for other in left if equal(item, other)), None)) is None:
            return False
        left.remove(found)
    return not left


def _opened(form: Form, other: Form) -> Form:
    """A set of one as that one, beside a form that is no set."""
    alone = form.kind == "set" and len(form.items) == 1 and other.kind != "set"
    return read(form.items[0]) if alone else form


# Parts of the line. A cut is (value, 0) just before a value or (value, 1) just after it, and a part is a
# sorted list of cuts at which one goes in and out: [2,5) is [(2,0), (5,0)], the point 3 is [(3,0), (3,1)].
Cut = tuple[Fraction | float, int]
Region = tuple[str, list[Cut]]  # the name of its variable or "", and its cuts
_REALS = re.compile(
    rf"\\mathbb\{{R\}}|(?:{TEXT_COMMAND}\s*\{{\s*)?(?:the set of )?all real(?: number)?s(?: [a-z])?\s*\}}?",
    re.IGNORECASE,
)
_BUILDER = re.compile(
    r"\\\{\s*[A-Za-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:[:|]|\\mid(?![A-Za-z]))\s*(.+?)\s*\\\}"
)
_MEMBER = re.compile(r"([A-Za-z])\s*\\(in|notin|not\s*\\in)(?![A-Za-z])\s*(.+)")
_EXCEPT = re.compile(r"\A([A-Za-z])\s*\\neq?(?![A-Za-z])\s*([^<>=,]+)\Z")
_VARIABLE = re.compile(r"\|?\s*([A-Za-z])\s*\|?")
_LINE: list[Cut] = [(-math.inf, 1), (math.inf, 0)]


def region(text: str) -> Region | None:
    """A part of the real line: intervals, their unions, inequalities; None for anything else."""
    parts = [_piece(part) for part in split(text, rf"{_UNION}|{_OR}")]
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


def _without(whole: list[Cut], hole: list[Cut]) -> list[Cut]:
    return _combine(whole, hole, lambda within: within == [True, False])


def _piece(text: str) -> Region | None:
    """A part of the line without unions."""
    if _REALS.fullmatch(text):
        return "", _LINE
    if builder := _BUILDER.fullmatch(text):
        return region(builder[1])
    if member := _MEMBER.fullmatch(_EXCEPT.sub(r"\1 \\notin \\{\2\\}", text)):
        of = region(member[3])
        return of and (member[1], of[1] if member[2] == "in" else _without(_LINE, of[1]))
    if len(parts := split(text, r"\\(?:setminus|backslash)(?![A-Za-z])")) == 2:
        whole, hole = map(region, parts)
        return whole and hole and (whole[0], _without(whole[1], hole[1]))
    if group := inside(text):
        return _bracketed(*group)
    return _inequalities(text)


def _bracketed(ends: str, inner: str) -> Region | None:
    values = [real(item) for item in split(inner)]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if ends == "{}":
        return "", sorted({(value, side) for value in known for side in (0, 1)})
    if len(known) != 2 or known[0] >= known[1]:
        return None
    return "", [(known[0], int(ends[0] == "(")), (known[1], int(ends[1] == "]"))]


def _inequalities(text: str) -> Region | None:
    r"""`2 \le x < 5`, `x > 2 \text{ and } x < 5`, `x > -3, x \le 4`, `|x| < 2`."""
    names, cuts = set(), _LINE
    for part in split(text, rf"{_AND}|,"):
        sides = [side.strip() for side in re.split(f"({SIGN})", part)]
        if len({sign[0] for sign in sides[1::2]}) != 1:
            return None
        for left, sign, right in zip(sides[::2], sides[1::2], sides[2::2], strict=False):
            above = _VARIABLE.fullmatch(left) is None
            variable, other = _VARIABLE.fullmatch(right if above else left), real(left if above else right)
            if variable is None or other is None:
                return None
            names.add(variable[1])
            below, closed = (sign[0] == "<") != above, int("=" in sign)
            found = [_LINE[0], (other, closed)] if below else [(other, 1 - closed), _LINE[1]]
            if variable[0][0] == "|":
                mirrored = [(-value, 1 - side) for value, side in reversed(found)]
                found = _combine(found, mirrored, all if below else any)
            cuts = _combine(cuts, found, all)
    return (names.pop(), cuts) if cuts and len(names) == 1 else None
