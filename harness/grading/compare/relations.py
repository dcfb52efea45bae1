r"""What an answer with relation signs says: chains of equations, names, moduli, choices, labelled values.

`x = 5`, `5^2 = 25`, `\frac{1}{3} \approx 0.333`, `5 \pmod 7`, `\text{(A) } 25`, `m = 20, n = 5, m + n = 25`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from harness.grading.compare.quantities import TEXT_COMMAND, is_label, parse_number
from harness.grading.compare.structure import SIGN, inside, read, split
from harness.grading.compare.symbolic import rounds_to

_EQUAL = r"(?<![<>!:=])=(?!=)|\\(?:approx|equiv)(?![A-Za-z])"
_NO_CHAIN = re.compile(rf"{SIGN}|\\(?:neq?|in|or)(?![A-Za-z])|\b(?:or|and)\b")
_OF = re.compile(r"(?<=[A-Za-z}])[(\[][^()\[\]]*[)\]]")  # `(X > 2)` of `P(X > 2)`
_PLAIN_DECIMAL = re.compile(r"-?\d*\.\d{1,300}")
MAX_SIDES = 8  # so many of the last sides are compared with each other
_PURE_NAME = re.compile(
    r"[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z]\))?|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\)|[A-Z]{2,3}"
)
_GREEK = r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|varphi|omega|rho|sigma|tau)(?![A-Za-z])"
_SUBSCRIPT = r"(?:_(?:\w|\{[^{}]*\}))"
_TERM = rf"(?:[A-Za-df-hj-z]|{_GREEK}){_SUBSCRIPT}?'*"
_NAME = re.compile(
    r"(?:m\s*)?\\(?:measured)?angle\s*\{?\s*\w+\s*\}?"
    r"|\\(?:overline|triangle|overrightarrow|vec|mathbf|mathbb|boldsymbol|hat)\s*\{?\s*\w\s*\}?(?:\^\{?(?:-1|T)\}?)?"
    r"|(?:[EP]|Var|\\Pr|\\mathbb\s*\{[EP]\})\s*[(\[].*[)\]]"
    rf"|(?:(?![a-emnxyz])[A-Za-z]|\\(?:phi|varphi|sigma|tau|pi)){_SUBSCRIPT}?(?:'+|\^\{{?-1\}}?)?"
    r"\((?P<inside>[^()]*(?:\([^()]*\))?)\)"
    r"|\\begin\{[a-z]*matrix\}(?:[\sA-Za-z]|\\\\|_\d)*\\end\{[a-z]*matrix\}"
)
_WORDS = rf"{TEXT_COMMAND}\s*\{{[^{{}}]*\}}|{_SUBSCRIPT}"
# What is one quantity although letters stand in it: a limit, and `x + 1/x`, of which no one asks for x.
_QUANTITY = re.compile(
    r"\\(?:lim|int|sum|prod)(?![A-Za-z]).*|([A-Za-z](?:\^\{?\d\}?)?)\s*[-+]\s*(?:\\frac\s*\{?1\}?\s*\{?\1\}?|1\s*/\s*\1)"
)
_LINEAR = re.compile(r"(?:\\(?:frac|cdot|times)|[-+*/.\d\s{}()])*")


def sides(text: str) -> tuple[list[str], list[str]]:
    """The sides of a chain of equations and the signs between them; one side where there is no chain.

    Only signs outside brackets count, and none in a list, an inequality or an alternative.
    """
    parts, signs = split(text, _EQUAL), re.findall(_EQUAL, text)
    if not signs or not all(parts) or _NO_CHAIN.search(_OF.sub("", text)) or len(split(text, ",")) > 1:
        return [text], []
    return parts, signs


def names_its_value(text: str) -> bool:
    """Whether the text is a chain with a side that is nothing but a name: `y = 2x + 1`, `f(x) = x^2`."""
    parts, signs = sides(text)
    return bool(signs) and any(map(_PURE_NAME.fullmatch, parts))


def is_name(side: str) -> bool:
    r"""Whether a side names what is equal: `x`, `f(2)`, `m + n`, `AB`, `\angle A`, `\text{Area}`, `a^2+b^2`.

    `2x`, `x^2` and `|x|` do not: an equation in them is still to be solved. `e` and `i` are numbers.
    """
    if parse_number(side) is not None:
        return False
    terms = [term.strip() for term in side.split("+")]
    if len(set(terms)) == len(terms) and all(re.fullmatch(_TERM, term) for term in terms):
        return True
    if match := _NAME.fullmatch(side):
        return match["inside"] is None or side[0] not in match["inside"]
    if _QUANTITY.fullmatch(side):
        return True
    words = re.sub(TEXT_COMMAND, " ", side)
    if re.search(r"[A-Za-z]{3}", re.sub(r"\\[A-Za-z]+", " ", words)):
        factors = re.search(r"\\(?!triangle|angle)|\d|^-|[+*/^]", re.sub(_WORDS, "", side))
        return factors is None and is_label(words)
    return _is_quantity(side)


def _is_quantity(side: str) -> bool:
    """Whether an expression holds other letters than x, y, n, and is not linear in one."""
    side = re.sub(r"\\(?:math(?:bf|rm|bb)|vec|bm|boldsymbol|hat)", "", side)
    side = re.sub(r"(?:\\Pr|[EP])\s*[(\[][^()\[\]]*[)\]]", "P", side)
    bare = re.sub(rf"\\(?!{_GREEK[2:]})[A-Za-z]+|_\w|_\{{\w+\}}", " ", side)
    letters = set(re.findall(rf"[A-Za-df-hj-z]|{_GREEK}", bare))
    if not letters or letters & set("xyn") or re.match(r"-?\s*\d[^-+=]*$", side):
        return False
    return len(letters) > 1 or _LINEAR.fullmatch(side.replace(letters.pop(), "", 1)) is None


def has_letters(side: str) -> bool:
    """Whether a side has variables or names; `e`, `i` and commands as `\\pi` are numbers."""
    bare = re.sub(r"\\(?!angle|triangle|text|mathrm)[A-Za-z]+", "", side)
    return parse_number(side) is None and re.search(r"[A-Za-df-hj-z]", bare) is not None


def values(text: str, equal: Callable[[str, str], bool]) -> list[str] | None:
    r"""What a chain gives as its value, the last first; None for `24 = 25` and for `2x = 25`.

    `x = 5` gives `5`, and so do `5 = x` and `3 + 2 = 5`. A decimal may round a side before it, and then
    both are values: `\frac{1}{3} = 0.333`. Numbers are not compared with variables.
    """
    parts, signs = sides(text)
    if len(parts) == 1:
        return parts
    if r"\equiv" in signs:
        return [parts[-1]]
    named = any(map(is_name, parts))
    numeric = [side for side in parts if not is_name(side) and not has_letters(side)]
    if not numeric:
        said = [side for side in parts if not is_name(side)] or parts
        return [said[-1]] if named or equal(parts[-1], parts[-2]) else None
    if len(numeric) < len(parts) and not named:
        return None
    last, rounded = numeric[-1], None
    for side in numeric[-MAX_SIDES:-1]:
        if rounds(side, last, integers=r"\approx" in signs):
            rounded = rounded or side
        elif not equal(last, side):
            return None
    return [last, rounded] if rounded else [last]


def rounds(exact: str, decimal: str, *, integers: bool) -> bool:
    """Whether `decimal` is `exact` rounded at its last place, or the one is the other in per cent."""
    a, b = parse_number(exact), parse_number(decimal)
    places = len(decimal.partition(".")[2].rstrip("."))
    if a is None or b is None:
        return _PLAIN_DECIMAL.fullmatch(decimal) is not None and rounds_to(exact, decimal, places)
    if ("%" in decimal) != ("%" in exact):
        return b == 100 * a or a == 100 * b
    return (places > 0 or integers) and abs(a - b) <= Fraction(1, 2 * 10**places)


_ARROW = r"\\(?:Rightarrow|Longrightarrow|implies)(?![A-Za-z])"
_TO = r"\\(?:(?:long)?rightarrow|to)(?![A-Za-z])|→"


def concluded(text: str) -> str:
    r"""What a derivation ends with: `25` of `20 + 5 \Rightarrow 25`, `m+n=25` of `m=20, n=5, m+n=25`."""
    text = split(text, _ARROW)[-1]
    if parse_number((steps := split(text, _TO))[0]) is None:  # `24 \to 25` is a change, not a result
        text = steps[-1]
    parts = split(text, r",?\s*\\text\s*\{\s*(?:so|and|thus)\s*\}|[,;]")
    if len(parts) > 1 and all(len(sides(part)[1]) for part in parts):
        left = sides(parts[-1])[0][0]
        if re.search(r"[A-Za-z)}]\s*[-+*/^A-Za-z]|\\[a-z]+", left) and not re.fullmatch(_TERM, left):
            return parts[-1]
    return text


_MODULUS = re.compile(
    rf"\s*\(?\s*(?:\\p?mod|(?:{TEXT_COMMAND}\s*\{{)?\(?\s*(?<![\\A-Za-z])mod(?:ulo)?\b\s*\}}?)"
    r"\s*\{?\s*(\d{1,40})\s*\}?\s*\)?\s*"
)


def without_modulus(text: str) -> tuple[str, int | None]:
    r"""(`5`, 7) of `5 \pmod{7}`, `n \equiv 5 \pmod 7`, `5 (mod 7)`; else the modulus is None."""
    match = _MODULUS.search(text)
    if match is None or match.end() != len(text) or int(match[1]) == 0:
        return text, None
    return text[: match.start()].strip().removeprefix(r"\equiv").strip(), int(match[1])


def congruent(text: str, modulus: int, *, reduced: bool) -> bool:
    r"""Whether the numbers of a chain before its modulus are congruent: not `51 \equiv 24 \pmod{26}`.

    `reduced` asks that the last is below the modulus: not `25 mod 7`, which is 4.
    """
    numbers = [n for n in map(parse_number, sides(text)[0]) if n is not None]
    if reduced and numbers and abs(numbers[-1]) >= modulus:
        return False
    return all((n - numbers[0]) % modulus == 0 for n in numbers)


_CHOICE = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*\}}?\s*\(?([A-J])\)?\s*\}}?"
    r"|(?:\(([A-J])\)|([A-J])[.):])\s*\}?(?:[\s.:]*(?!(?:or|and)\b|,|/)(\S.*))?)",
    re.DOTALL,
)


def choice(text: str) -> tuple[str, str] | None:
    r"""(`A`, `25`) of `\textbf{(A)}\ 25`, `(A) 25`, `A. 25`: a lettered choice with what it says."""
    if (match := _CHOICE.fullmatch(text)) is None:
        return None
    letter = match[1] or match[2] or match[3]
    return letter, (match[4] or letter).strip()


_LABEL = rf"(?:[A-Za-z]|{_GREEK})(?:_(?:\w|\{{\w{{1,3}}\}}))?"
_LABELS = re.compile(rf"\(\s*({_LABEL}(?:\s*,\s*{_LABEL})+)\s*\)\s*=\s*\((.+)\)", re.DOTALL)
_ASSIGNMENT = re.compile(rf"({_LABEL})\s*=\s*([^=<>]+)")


def labelled(text: str) -> dict[str, str] | None:
    """The values by label as written; None for any other text and for a label that comes twice."""
    if several := _LABELS.fullmatch(text):
        names, found = (split(part) for part in several.groups())
    else:
        whole = inside(text) or ("", text)
        pairs = [_ASSIGNMENT.fullmatch(part) for part in split(whole[1].replace(r"\\", ","))]
        names = [pair[1] for pair in pairs if pair]
        found = [pair[2].strip() for pair in pairs if pair]
        if len(names) < len(pairs):
            return None
    return dict(zip(names, found, strict=True)) if 1 < len(names) == len(found) == len(set(names)) else None


def aligned(gold: str, pred: str) -> tuple[str, str] | None:
    """Both as tuples in one order where one has labels and the other may; None if that order is unknown.

    Labels that follow each other in the alphabet (`x, y`, `x_1, x_2`) are sorted. Others count as written if
    they ascend.
    """
    golds, preds = labelled(gold), labelled(pred)
    if golds and preds:
        if golds.keys() == preds.keys():
            return _tuple(golds, golds), _tuple(preds, golds)
    elif golds and _several(pred):
        return _tuple(golds, golds if _LABELS.fullmatch(gold) else _order(golds) or golds), pred
    elif preds and _several(gold):
        names = _order(preds)
        return (gold, _tuple(preds, names)) if names else None
    return gold, pred


def as_tuple(text: str) -> str:
    """Labelled values as a tuple if their order is known, any other text as it is."""
    found = labelled(text)
    names = _order(found) if found else None
    return _tuple(found, names) if found and names else text


def _several(text: str) -> bool:
    return "=" not in text and read(text).kind in ("list", "tuple")


def _order(found: dict[str, str]) -> list[str] | None:
    """The labels in their conventional order; None if there is none and they do not ascend as written."""
    ranks = {name: _rank(name) for name in found}
    names = sorted(found, key=ranks.__getitem__)
    (first, low), (last, high) = ranks[names[0]], ranks[names[-1]]
    together = first == last or (not (low + high).strip() and last - first == len(names) - 1)
    return names if together or names == list(found) else None


def _rank(name: str) -> tuple[int, str]:
    """The place of a label in the alphabet: its letter (capitals, Greek apart), then its subscript."""
    letter, _, subscript = name.partition("_")
    return ord(letter) if len(letter) == 1 else 1000 + _GREEK.find(letter[1:]), subscript.strip("{}").rjust(3)


def _tuple(found: dict[str, str], names: dict[str, str] | list[str]) -> str:
    return f"({','.join(found[name] for name in names)})"


def spoken(text: str) -> str:
    """The last value of a chain, else the text: what a vote or a step check takes as the answer."""
    found = values(text, lambda a, b: True)
    return found[0] if found else text
