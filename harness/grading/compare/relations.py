r"""What an answer with relation signs says: chains of equations, moduli, lettered choices.

`x = 5`, `5^2 = 25`, `\frac{1}{3} \approx 0.333`, `5 \pmod 7`, `\text{(A) } 25`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from harness.grading.compare.brackets import INEQUALITY_SIGN
from harness.grading.compare.quantities import TEXT_COMMAND, is_label, parse_number

_SIGN = re.compile(r"(?<![<>!:=])=(?!=)|\\(?:approx|equiv)(?![A-Za-z])")
_NO_CHAIN = re.compile(rf"{INEQUALITY_SIGN}|\\(?:neq?|in|or)(?![A-Za-z])|\b(?:or|and)\b")


_PLAIN_DECIMAL = re.compile(r"-?\d*\.\d{1,15}")
MAX_SIDES = 8  # so many of the last sides are compared with each other


def sides(normalised: str) -> tuple[list[str], list[str]]:
    """The sides of a chain of equations and the signs between them; one side where there is no chain.

    Only signs outside brackets count, and none in a list, an inequality or an alternative.
    """
    if _SIGN.search(normalised) is None or _NO_CHAIN.search(normalised):
        return [normalised], []
    depth, start, parts, signs = 0, 0, [], []
    places = {match.start(): match for match in _SIGN.finditer(normalised)}
    for i, char in enumerate(normalised):
        depth += (char in "{([") - (char in "})]")
        if depth == 0 and char == ",":
            return [normalised], []
        if depth == 0 and (match := places.get(i)):
            parts.append(normalised[start:i].strip())
            signs.append(match[0])
            start = match.end()
    parts.append(normalised[start:].strip())
    return (parts, signs) if all(parts) else ([normalised], [])


_PURE_NAME = re.compile(
    r"[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z]\))?|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\)|[A-Z]{2,3}"
)


def names_its_value(normalised: str) -> bool:
    """Whether the text is a chain with a side that is nothing but a name: `y = 2x + 1`, `f(x) = x^2`."""
    parts, signs = sides(normalised)
    return bool(signs) and any(map(_PURE_NAME.fullmatch, parts))


_GREEK = r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|varphi|omega|rho|sigma|tau)(?![A-Za-z])"
_LETTER = rf"(?:[A-Za-df-hj-z]|{_GREEK})"
_SUBSCRIPT = r"(?:_(?:\w|\{[^{}]*\}))"
_POINTS = r"[A-Z](?:'|_\d)?(?:\s*[A-Z](?:'|_\d)?)+"
_TERM = rf"(?:{_LETTER}{_SUBSCRIPT}?'*|{_POINTS})"
_NAME = re.compile(
    rf"(?:m\s*)?\\(?:measured)?angle\s*\{{?\s*\w+\s*\}}?|\|\s*{_POINTS}\s*\||\[\s*{_POINTS}\s*\]"
    rf"|\\(?:overline|triangle|overrightarrow)\s*\{{?\s*{_POINTS}\s*\}}?|[ei]{_SUBSCRIPT}"
    rf"|(?:(?![a-emnxyz])[A-Za-z]|\\(?:phi|varphi|sigma|tau|pi)){_SUBSCRIPT}?(?:'+|\^\{{?-1\}}?)?\((?P<inside>[^()]*(?:\([^()]*\))?)\)"
    rf"|\\(?:gcd|max|min)\s*\([^()]*\)|\\(?:det|deg|dim)\s*[A-Za-z]|\(\s*{_TERM}(?:\s*,\s*{_TERM})+\s*\)"
)
_LABEL_PIECE = re.compile(
    rf"{TEXT_COMMAND}\s*\{{[^{{}}]*\}}|[A-Za-z' ]{{3,}}|{_SUBSCRIPT}|\\(?:triangle|angle)(?![A-Za-z])"
    r"|\(\s*[A-Z]+\s*\)|\b[A-Z]+\b|\s"
)


def is_name(side: str) -> bool:
    r"""Whether a side names what is equal: `x`, `f(2)`, `m + n`, `AB`, `\angle A`, `\text{Area}`.

    `2x`, `x^2` and `|x|` do not: an equation in them has another value. `e` and `i` are numbers.
    """
    if parse_number(side) is not None:
        return False
    terms = [term.strip() for term in side.split("+")]
    if len(set(terms)) == len(terms) and all(re.fullmatch(_TERM, term) for term in terms):
        return True
    if match := _NAME.fullmatch(side):
        return match["inside"] is None or side[0] not in match["inside"]
    words = re.sub(TEXT_COMMAND, " ", side)
    return (
        not _LABEL_PIECE.sub("", side)
        and re.search(r"[A-Za-z][a-z]{2}", words) is not None
        and is_label(words)
    )


def has_letters(side: str) -> bool:
    """Whether a side has variables or names; `e`, `i` and commands as `\\pi` are numbers."""
    bare = re.sub(r"\\(?!angle|triangle|text|mathrm)[A-Za-z]+", "", side)
    return parse_number(side) is None and re.search(r"[A-Za-df-hj-z]", bare) is not None


def values(normalised: str, agree: Callable[[str, str, int | None], bool]) -> list[str] | None:
    r"""What a chain gives as its value, the last first; None for `24 = 25` and for `2x = 25`.

    `x = 5` gives `5`, and so do `5 = x` and `3 + 2 = 5`. A decimal may round a side before it, and then
    both are values: `\frac{1}{3} = 0.333`. Numbers are not compared with variables.
    `agree(side, last, decimals)` says whether two sides are equal, rounded to `decimals` unless that is None.
    """
    parts, signs = sides(normalised)
    if len(parts) == 1:
        return parts
    if r"\equiv" in signs:
        return [parts[-1]]
    named = any(map(is_name, parts))
    numeric = [side for side in parts if not is_name(side) and not has_letters(side)]
    if not numeric:
        said = [side for side in parts if not is_name(side)] or parts
        return [said[-1]] if named or agree(parts[-2], parts[-1], None) else None
    if len(numeric) < len(parts) and not named:
        return None
    return _numeric_values(numeric, agree, integers=r"\approx" in signs)


def _numeric_values(
    numeric: list[str], agree: Callable[[str, str, int | None], bool], *, integers: bool
) -> list[str] | None:
    """The last of these sides, with the first one that it rounds; None unless all are equal to it."""
    last, rounded = numeric[-1], None
    places = len(last.partition(".")[2]) if _PLAIN_DECIMAL.fullmatch(last) else 0
    for side in numeric[-MAX_SIDES:-1]:
        unread = places and parse_number(side) is None  # a root, a fraction of roots
        if rounds(side, last, integers=integers) or (unread and agree(side, last, places)):
            rounded = rounded or side
        elif not agree(side, last, None):
            return None
    return [last, rounded] if rounded else [last]


def rounds(exact: str, decimal: str, *, integers: bool) -> bool:
    """Whether `decimal` is `exact` rounded at its last place, or the one is the other in per cent."""
    a, b = parse_number(exact), parse_number(decimal)
    if a is None or b is None or a == b:
        return False
    if ("%" in decimal) != ("%" in exact):
        return b == 100 * a or a == 100 * b
    places = len(decimal.partition(".")[2].rstrip("."))
    unit = Fraction(1, 10**places) if places < 20 else Fraction(0)
    return (places > 0 or integers) and abs(a - b) <= unit / 2


_MODULUS = re.compile(
    rf"\s*\(?\s*(?:\\pmod|\\mod|(?:{TEXT_COMMAND}\s*\{{)?\(?\s*(?<![\\A-Za-z])mod(?:ulo)?\b\s*\}}?)\s*\{{?\s*(\d{{1,40}})\s*\}}?\s*\)?\s*"
)


def without_modulus(normalised: str) -> tuple[str, int | None]:
    r"""(`5`, 7) of `5 \pmod{7}`, `n \equiv 5 \pmod 7`, `5 (mod 7)`; else the modulus is None."""
    match = _MODULUS.search(normalised)
    if match is None or match.end() != len(normalised) or int(match[1]) == 0:
        return normalised, None
    return normalised[: match.start()].strip(), int(match[1])


def congruent(normalised: str, modulus: int, *, reduced: bool) -> bool:
    r"""Whether the numbers of a chain before its modulus are congruent: not `51 \equiv 24 \pmod{26}`.

    `reduced` asks that the last is below the modulus: not `25 mod 7`, which is 4.
    """
    numbers = [n for n in map(parse_number, sides(normalised)[0]) if n is not None]
    if reduced and numbers and abs(numbers[-1]) >= modulus:
        return False
    return all((n - numbers[0]) % modulus == 0 for n in numbers)


_CHOICE = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:\(([A-J])\)|([A-J])[.):])\s*\}}?(?:[\s.:]*(?!(?:or|and)\b|,|/)(\S.*))?",
    re.DOTALL,
)

_OPTION = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*\}}?\s*\(?([A-J])\)?\s*\}}?"
)


def choice(normalised: str) -> tuple[str, str] | None:
    r"""(`A`, `25`) of `\textbf{(A)}\ 25`, `(A) 25`, `A. 25`: a lettered choice with what it says."""
    if match := _OPTION.fullmatch(normalised):
        return match[1], match[1]
    match = _CHOICE.fullmatch(normalised)
    return (match[1] or match[2], (match[3] or match[1] or match[2]).strip()) if match else None


def spoken(normalised: str) -> str:
    """The last value of a chain, else the text: what a vote or a step check takes as the answer."""
    found = values(normalised, lambda a, b, n: True)
    return found[0] if found else normalised
