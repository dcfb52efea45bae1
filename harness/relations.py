r"""What an answer with relation signs says: chains of equations, inequalities, moduli, lettered choices.

`x = 5`, `5^2 = 25`, `\frac{1}{3} \approx 0.333`, `2 \le x < 5`, `5 \pmod 7`, `\text{(A) } 25`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from harness.quantities import TEXT_COMMAND, is_label, parse_number

_SIGN = re.compile(r"(?<![<>!:=])=(?!=)|\\(?:approx|equiv)(?![A-Za-z])")
_INEQUALITY_SIGN = r"<=|>=|<|>|\\(?:leq?|geq?|lt|gt)(?![A-Za-z])"
_NO_CHAIN = re.compile(rf"{_INEQUALITY_SIGN}|\\(?:neq?|in|or)(?![A-Za-z])|\b(?:or|and)\b")


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
    last, rounded = numeric[-1], None
    places = len(last.partition(".")[2]) if _PLAIN_DECIMAL.fullmatch(last) else None
    for side in numeric[-MAX_SIDES:-1]:
        if rounds(side, last, integers=r"\approx" in signs) or (
            places and parse_number(side) is None and agree(side, last, places)
        ):
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


_CHOICE = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:\(([A-J])\)|([A-J])[.):])\s*\}}?(?:[\s.:]*(?!(?:or|and)\b|,|/)(\S.*))?",
    re.DOTALL,
)


def choice(normalised: str) -> tuple[str, str] | None:
    r"""(`A`, `25`) of `\textbf{(A)}\ 25`, `(A) 25`, `A. 25`: a lettered choice with what it says."""
    match = _CHOICE.fullmatch(normalised)
    return (match[1] or match[2], (match[3] or match[1] or match[2]).strip()) if match else None


_OR = re.compile(rf"\s*(?:{TEXT_COMMAND}\s*\{{\s*or\s*\}}|\bor\b|\\lor(?![A-Za-z])|\\cup(?![A-Za-z]))\s*")
_AND = re.compile(rf"\s*(?:{TEXT_COMMAND}\s*\{{\s*and\s*\}}|\band\b|\\land(?![A-Za-z]))\s*")
_BUILDER = re.compile(r"\\\{\s*[A-Za-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:[:|]|\\mid)\s*(.+?)\s*\\\}")
_BETWEEN = re.compile(rf"(.+?)\s*({_INEQUALITY_SIGN})\s*([A-Za-z])\s*({_INEQUALITY_SIGN})\s*(.+)")
_ABOVE_OR_BELOW = re.compile(rf"([^<>]+?)\s*({_INEQUALITY_SIGN})\s*([^<>]+)")
_VARIABLE = re.compile(r"[A-Za-z]")


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
        return name, f"{_open(first, '(', '[')}{low},{high}{_open(second, ')', ']')}"
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


def spoken(normalised: str) -> str:
    """The last value of a chain, else the text: what a vote or a step check takes as the answer."""
    found = values(normalised, lambda a, b, n: True)
    return found[0] if found else normalised
