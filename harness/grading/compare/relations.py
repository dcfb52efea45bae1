r"""What an answer with relation signs says: chains of equations, names, moduli, choices, labelled values.

`x = 5`, `5^2 = 25`, `\frac{1}{3} \approx 0.333`, `5 \pmod 7`, `\text{(A) } 25`, `m = 20, n = 5, m + n = 25`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import zip_longest

from harness.grading.compare.quantities import TEXT_COMMAND, is_label, parse_number
from harness.grading.compare.structure import SIGN, split
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
_LETTER = rf"(?:[A-Za-df-hj-z]|{_GREEK})"
_SUBSCRIPT = re.compile(r"_(?:\w|\{[^{}]*\})")
# What is one quantity although letters stand in it: words, marked letters, `f(2)`, a limit, `x + 1/x`.
_ATOM = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{[^{{}}]*\}}|(?<![\\A-Za-z])[A-Za-z]{{3,}}(?![A-Za-z])\s*)+"
    r"|\\(?:lim|int|sum|prod)(?![A-Za-z]).*"
    r"|\\(?:(?:measured)?angle|overline|triangle|overrightarrow|vec|math(?:bf|bb)|boldsymbol|hat)\s*\{?\s*\w+\s*\}?"
    rf"|(?:[EP]|Var|\\Pr)\s*[(\[][^()\[\]]*[)\]]|(?<![A-Za-z])(?:(?![a-emnxyz])[A-Za-z]|{_GREEK}|\\pi)"
    r"(?:'+|\^\{?-1\}?)?\((?:[^()]|\([^()]*\))*\)"
    r"|\\begin\{[a-z]*matrix\}(?:[\sA-Za-z]|\\\\)*\\end\{[a-z]*matrix\}"
    r"|([A-Za-z](?:\^\{?\d\}?)?)\s*[-+]\s*(?:\\frac\s*\{?1\}?\s*\{?\1\}?|1\s*/\s*\1)"
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

    `2x`, `x^2` and `|x|` do not: an equation in them is still to be solved. `e` and `i` are numbers. Of other
    expressions those name a value that hold other letters than x, y, n, and are not linear in one.
    """
    if parse_number(side) is not None:
        return False
    bare = _ATOM.sub(lambda m: "Q" if is_label(m[0]) else "2Q", _SUBSCRIPT.sub("", side))
    terms = [term.strip(" '") for term in bare.split("+")]
    if len(set(terms)) == len(terms) and all(re.fullmatch(_LETTER, term) for term in terms):
        return True
    letters = set(re.findall(_LETTER, re.sub(rf"\\(?!{_GREEK[2:]})[A-Za-z]+", " ", bare)))
    if not letters or letters & set("xyn") or re.match(r"-?\s*\d[^-+=]*$", bare):
        return False
    return len(letters) > 1 or _LINEAR.fullmatch(bare.replace(letters.pop(), "", 1)) is None


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
        if re.search(r"[A-Za-z)}]\s*[-+*/^A-Za-z]|\\[a-z]+", left) and not re.fullmatch(_LETTER, left):
            return parts[-1]
    return text


_MODULUS = re.compile(
    rf"\s*\(?\s*(?:\\p?mod|(?:{TEXT_COMMAND}\s*\{{)?\s*\(?\s*(?<![\\A-Za-z])mod(?:ulo)?\b\s*\}}?)"
    r"\s*\{?\s*(\d{1,40})[\s})]*"
)


def without_modulus(text: str) -> tuple[str, int | None]:
    r"""(`5`, 7) of `5 \pmod{7}`, `n \equiv 5 \pmod 7`, `5 (mod 7)`; else the modulus is None."""
    match = _MODULUS.search(text)
    if match is None or match.end() != len(text) or int(match[1]) == 0:
        return text, None
    return text[: match.start()].strip().removeprefix(r"\equiv").strip(), int(match[1])


def congruent(text: str, modulus: int) -> bool:
    r"""Whether a chain is true and ends below its modulus: not `51 \equiv 24 \pmod{26}`, not `25 mod 7`."""
    numbers = [n for n in map(parse_number, sides(text)[0]) if n is not None]
    return all(abs(numbers[-1]) < modulus and (n - numbers[0]) % modulus == 0 for n in numbers)


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


_LABELS = re.compile(r"\(([^()=]+,[^()=]+)\)\s*=\s*\((.+)\)")
_ASSIGNMENT = re.compile(rf"((?:[A-Za-z]|{_GREEK})(?:_(?:\w|\{{\w{{1,3}}\}}))?)\s*=\s*([^=<>]+)")


def as_tuple(text: str) -> str:
    """`(1,2)` of `y = 2, x = 1` and `(y,x) = (2,1)`: values in the order of their labels; else the text."""
    parts = split(text)
    if several := _LABELS.fullmatch(text):
        names, values = map(split, several.groups())
        parts = [f"{name}={value}" for name, value in zip_longest(names, values, fillvalue="")]
    pairs = [_ASSIGNMENT.fullmatch(part) for part in parts]
    found = {pair[1]: pair[2].strip() for pair in pairs if pair}
    if len(found) < max(2, len(pairs)):
        return text
    return f"({','.join(found[name] for name in sorted(found, key=lambda name: (len(name), name)))})"


def spoken(text: str) -> str:
    """The last value of a chain, else the text: what a vote or a step check takes as the answer."""
    found = values(text, lambda a, b: True)
    return found[0] if found else text
