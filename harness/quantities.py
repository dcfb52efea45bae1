"""Reading a normalised answer as an exact number with an optional unit. Values are Fractions; no eval."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_DIGITS = 200

TEXT_COMMAND = (
    r"\\(?:text(?:bf|rm|it|sf|tt|normal)?|math(?:rm|bf|it|sf)|mbox|rm|operatorname"
    r"|emph|underline|boldsymbol|bm)"
)
WRAPPED = re.compile(rf"(?:\\(?:boxed|fbox|framebox)|{TEXT_COMMAND})\s*\{{([^{{}}]*)\}}")
INTEGER = re.compile(r"[-+]?\d{1,200}")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?:
        (?:(?P<whole>\d+)\s*(?:\\frac\{{\s*(?P<mnum>\d+)\s*\}}\{{\s*(?P<mden>\d+)\s*\}}|\s(?P<mn>\d+)/(?P<md>\d+)))
      | \\frac\{{\s*(?P<num>-?\s*{_DECIMAL})\s*\}}\{{\s*(?P<den>-?\s*{_DECIMAL})\s*\}}
      | (?P<a>{_DECIMAL})\s*/\s*(?P<b>{_DECIMAL})
      | (?P<spaced>\d{{1,3}}(?:\ \d{{3}})+)(?!\d)
      | (?P<dec>{_DECIMAL})(?:[eE](?P<e>[-+]?\d{{1,2}})(?!\w)
          |\.?(?:\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{{?\s*(?P<exp>[-+]?\d{{1,2}})\s*\}}?)?)
    )""",
    re.VERBOSE,
)
_REPEATING = re.compile(
    r"([-+]?)(\d{0,20})\.(\d{0,20})(?:\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?|\((\d{1,20})\))(?:\.{3})?"
)
_ELLIPSIS = re.compile(r"([-+]?)(\d{0,20})\.(\d{0,20}?)(?:(\d)\4{2,20}|(\d{2,10})\5{1,5})\s*\.{3,4}")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z.])\s*\^\s*\{?\s*-?[1-4]\s*\}?")
_UNIT_PRODUCT = re.compile(r"(?<=[A-Za-z.])\s*(?:\\cdot|\*)\s*(?=[A-Za-z])")
_SHORT_UNITS = re.compile(
    r"[mgshlLVWJNAKCF]|kg|[mck]m|in|ft|yd|mi|lbs?|oz|hrs?|min|ms|[mk]?[lL]|[mk]ph|[ap]m|[mghs]\.|yrs?|cc|Hz|Pa|sq|cu|of|%"
)
_NOT_UNITS = re.compile(
    r"pi|sqrt|(?:m|b|tr)illions?|thousands?|hundreds?|dozens?|scores?|half|halves|thirds|quarters|tenths|hundredths"
    r"|and|or|to|mod|modulo|is|not|never|sin|cos|tan|log|ln|times|plus|minus|over|base|if|when|more|less|wrong"
    r"|about|at|than|least|most|squared|cubed|factorial|choose|below|divided|multiplied|incorrect"
)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(r"\s*(hundred|thousand|million|billion|trillion|dozen)s?(?![A-Za-z])")
_ONES = re.findall(
    r"\w+",
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_IN_WORDS = re.compile(rf"({'|'.join(_TENS)})[- ]({'|'.join(_ONES[1:10])})|{'|'.join(_WORDS)}")


def is_unit(rest: str) -> bool:
    r"""Whether what follows a number is a unit: `%`, `\text{ cm}^2`, `miles per hour`, `m s^{-1}`."""
    opened = re.sub(r"\(([A-Za-z ]+)\)", r"\1", WRAPPED.sub(r" \1 ", rest)).strip()
    plain = _UNIT_PRODUCT.sub(" ", _UNIT_POWER.sub("", opened)).replace("²", "").replace("³", "")
    words = [w for w in re.split(r"[\s/-]+", plain) if w]
    if len(words) > 5 or not words:
        return not opened
    if not all(re.fullmatch(r"[A-Za-z]+(?:\.[A-Za-z]+)*[.,]?|%", w) for w in words):
        return False
    if any(_NOT_UNITS.fullmatch(w.lower().rstrip(".,")) for w in words):
        return False
    return opened != rest.strip() or all(len(w) > 2 or _SHORT_UNITS.fullmatch(w) for w in words)


def parse_number(normalised: str) -> Fraction | None:
    """The exact value of a number with an optional unit, or None for anything else.

    Integers (leading zeros, thousands separators), decimals, repeating decimals (`0.1\\overline{6}`,
    `0.1(6)`, `0.1666...`), `a/b`, `\\frac{a}{b}`, mixed numbers, `a \\times 10^{n}`, `6 million` and
    number words up to 99. A unit is dropped and a percent sign is one: 25% is 25, not 0.25, as in MATH.
    """
    if INTEGER.fullmatch(normalised):
        return Fraction(int(normalised))
    if repeating := _REPEATING.fullmatch(normalised) or _ELLIPSIS.fullmatch(normalised):
        sign, whole, fixed, *periods = repeating.groups()
        return _repeating(sign, whole, fixed, next(p for p in periods if p))
    match = _NUMBER.match(normalised)
    if match is None:
        return _in_words(normalised)
    if len(match[0]) > MAX_DIGITS:
        return None
    rest, factor = normalised[match.end() :], 1
    if scaled := _SCALED.match(WRAPPED.sub(r"\1", rest)):
        rest = WRAPPED.sub(r"\1", rest)[scaled.end() :]
        factor = 12 if scaled[1] == "dozen" else 10 ** _SCALES[scaled[1]]
    if not is_unit(rest):
        return None
    try:
        value = factor * _value(match.groupdict())
    except ZeroDivisionError:
        return None
    return -value if match["sign"] == "-" else value


def _value(g: dict[str, str | None]) -> Fraction:
    """The unsigned value of a match of _NUMBER."""
    if g["whole"]:
        return int(g["whole"]) + Fraction(int(g["mnum"] or g["mn"] or 0), int(g["mden"] or g["md"] or 0))
    if g["num"]:
        return _decimal(g["num"]) / _decimal(g["den"])
    if g["a"]:
        return _decimal(g["a"]) / _decimal(g["b"])
    return _decimal(g["spaced"] or g["dec"]) * Fraction(10) ** int(g["exp"] or g["e"] or 0)


def _decimal(text: str | None) -> Fraction:
    assert text is not None
    return Fraction(text.replace(",", "").replace(" ", ""))


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Fraction:
    """0.1\\overline{6} = (16 - 1) / 90."""
    nines = (10 ** len(period) - 1) * 10 ** len(fixed)
    value = Fraction(int(whole + fixed + period or 0) - int(whole + fixed or 0), nines)
    return -value if sign == "-" else value


def _in_words(normalised: str) -> Fraction | None:
    """`five`, `twenty-five apples`."""
    lower = normalised.lower()
    match = _IN_WORDS.match(lower)
    if match is None or lower[match.end() :][:1].isalpha() or not is_unit(normalised[match.end() :]):
        return None
    return Fraction(_WORDS[match[1]] + _WORDS[match[2]] if match[1] else _WORDS[match[0]])
