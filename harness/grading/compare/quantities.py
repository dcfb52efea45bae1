"""Reading a normalised answer as an exact number with an optional unit. Values are Fractions; no eval."""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.lexicon import CARDINALS, DECIMAL, DOZEN, ONES, SCALES, TENS

MAX_DIGITS = 200

TEXT_COMMAND = (
    r"\\(?:text(?:bf|rm|it|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|normal)|pmb|mbox|rm|operatorname"
    r"|emph|underline|boldsymbol|bm)"
)
WRAPPED = re.compile(rf"(?:\\(?:boxed|fbox|framebox)|{TEXT_COMMAND})\s*\{{([^{{}}]*)\}}")
INTEGER = re.compile(r"[-+]?\d{1,200}")
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?:
        (?:(?P<whole>\d+)\s*(?:\\frac\{{\s*(?P<mnum>\d+)\s*\}}\{{\s*(?P<mden>\d+)\s*\}}|\s(?P<mn>\d+)/(?P<md>\d+)))
      | \\frac\{{\s*(?P<num>-?\s*{DECIMAL})\s*\}}\{{\s*(?P<den>-?\s*{DECIMAL})\s*\}}
      | (?P<a>{DECIMAL})\s*/\s*(?P<b>{DECIMAL})
      | (?P<spaced>\d{{1,3}}(?:\ \d{{3}})+)(?!\d)
      | (?P<dec>{DECIMAL})(?:[eE](?P<e>[-+]?\d{{1,2}})(?!\w)
          |\.?(?:\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{{?\s*(?P<exp>[-+]?\d{{1,2}})\s*\}}?)?)
    )""",
    re.VERBOSE,
)
_REPEATING = re.compile(
    r"([-+]?)(\d{0,20})\.(\d{0,20})(?:\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?|\((\d{1,20})\))(?:\.{3})?"
)
_ELLIPSIS = re.compile(r"([-+]?)(\d{0,20})\.(\d{0,20}?)(?:(\d)\4{2,20}|(\d{2,10})\5{1,5})\s*\.{3,4}")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z.])\s*\^\s*\{?\s*-?[1-4]\s*\}?")
_SHORT_UNITS = re.compile(
    r"[mgshlLVWJNACF]|kg|[mck]m|gm|in|ft|yd|mi|lbs?|oz|hrs?|min|ms|[mk]?[lL]|[mk]ph|[mghs]\.|yrs?|cc|Hz|Pa|sq|cu|of|%"
)
_ITALIC = re.compile(r"\\(?:math(?:bf|it)|boldsymbol|bm)(?![A-Za-z])")  # a variable, never a unit
_CARDINAL = "|".join(CARDINALS)
_ORDINAL = (
    r"(?:third|quarter|fourth|half|(?:fif|six|seven|eigh|nin|ten|eleven|twelf|hundred|thousand|[mbtr]+illion"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)tie)th)s?|first|halves"
)
_SCALE_WORD = r"\w+illions?|(?:thousand|hundred|dozen|score|gross|googol|lakh|crore|myriad|k)s?"
# What changes a value that stands beside it: operations, denials, bounds, hedges, alternatives.
_CHANGES = re.compile(
    rf"{_CARDINAL}|{_ORDINAL}|{_SCALE_WORD}"
    r"|[ap]\.?m|pi|sqrt|mod|modulo|modulus|sin|cos|tan|log|ln|exp|plus|minus|negative|over|base|twice|thrice|root|roots"
    r"|squared|cubed|factorial|choose|reciprocal|inverse|opposite|negated|power|powers|exponent|complement"
    r"|(?:double|halve|triple|quadruple|increase|decrease|reduce|raise|multiplie|divide|add|subtract|round)d?"
    r"|added|subtracted|raised|rounded|multiple|multiples|divisible|divisor|remainder|sum|difference|product"
    r"|quotient|times|and|or|but|to|nor|either|neither|maybe|perhaps|possibly|probably|otherwise|alternatively"
    r"|through|until|till|versus|vs|else|then|except|excluding|excluded|excl|unless|instead|rather|without"
    r"|is|are|was|not|never|no|non|none|cannot|false|fail|fails|failed|wrong|incorrect|invalid|untrue|mistake|if|when"
    r"|more|less|fewer|greater|smaller|larger|about|around|at|than|least|most|below|above|under|beyond"
    r"|between|approximately|nearly|almost|plusminus|infinity|undefined|unknown|dne"
)
_OF_SUMS = "sum difference product quotient remainder root roots divisor multiple least at first third more"
_IN_LABELS = {*CARDINALS, *_OF_SUMS.split()}
_CONNECTING = {"per", "of", "square", "cubic", "a", "an"}
MAX_UNIT_WORDS = 3  # besides connecting words: `miles per hour`


def changes_value(word: str) -> bool:
    """Whether a word beside a number makes it another value or none: `squared`, `million`, `not`, `or`."""
    return _CHANGES.fullmatch(word.lower().rstrip(".,")) is not None


_FACTORS = SCALES | {"dozen": DOZEN}
_SCALED = re.compile(rf"\s*({'|'.join(_FACTORS)})s?(?![A-Za-z])")
_COUNT = re.compile(
    rf"\b(?:({'|'.join(TENS)})[- ]({'|'.join(ONES[1:10])})|({_CARDINAL}))(?![A-Za-z])", re.IGNORECASE
)


def is_label(text: str) -> bool:
    """Whether words before `=`, `is` or a colon name a value as it is: `Total cost`, not `twice the cost`."""
    words = re.findall(r"[a-z]+", text.lower())
    return not any(word not in _IN_LABELS and changes_value(word) for word in words)


def is_unit(rest: str) -> bool:
    r"""Whether what follows a number is a unit: `%`, `\text{ cm}^2`, `miles per hour`, `m s^{-1}`.

    One or two letters are a unit only if they are a known one; longer words only if they change no value.
    """
    if _ITALIC.search(rest):
        return False
    opened = re.sub(r"\(([A-Za-z ]+)\)", r"\1", WRAPPED.sub(r" \1 ", rest)).strip()
    words = [w for w in re.split(r"[\s/-]+", _UNIT_POWER.sub("", opened.replace("°", " degrees "))) if w]
    if not words or sum(w not in _CONNECTING for w in words) > MAX_UNIT_WORDS:
        return not opened
    return all(
        re.fullmatch(r"[A-Za-z]+(?:\.[A-Za-z]+)*[.,]?|%", w)
        and (len(w) > 2 or (w in ("a", "an") and len(words) > 1) or _SHORT_UNITS.fullmatch(w))
        and not changes_value(w)
        for w in words
    )


def _taken_apart(normalised: str) -> tuple[re.Match[str], int, str] | None:
    """The number at the start, the factor of the scale word after it, and what follows both."""
    match = _NUMBER.match(normalised)
    if match is None:
        digits = _COUNT.sub(lambda m: str(sum(CARDINALS[w.lower()] for w in m.groups() if w)), normalised)
        return _taken_apart(digits) if digits[:1].isdecimal() else None
    rest = normalised[match.end() :]
    scaled = _SCALED.match(opened := WRAPPED.sub(r"\1", rest))
    return (match, _FACTORS[scaled[1]], opened[scaled.end() :]) if scaled else (match, 1, rest)


def after_number(normalised: str) -> str | None:
    """What follows the number, with its scale word, at the start of `normalised`; None without one."""
    found = _taken_apart(normalised)
    return found and found[2]


def parse_number(normalised: str) -> Fraction | None:
    """The exact value of a number with an optional unit, or None for anything else.

    Integers (leading zeros, thousands separators), decimals, repeating decimals (`0.1\\overline{6}`,
    `0.1(6)`, `0.1666...`), `a/b`, `\\frac{a}{b}`, mixed numbers, `a \\times 10^{n}`, `6 million` and
    number words up to 99. A unit is dropped and a percent sign is one: 25% is 25, not 0.25, as in MATH.
    """
    if INTEGER.fullmatch(normalised):
        return Fraction(int(normalised))
    if repeating := _REPEATING.fullmatch(normalised.rstrip(" %")) or _ELLIPSIS.fullmatch(normalised):
        sign, whole, fixed, *periods = repeating.groups()
        return _repeating(sign, whole, fixed, next(p for p in periods if p))
    found = _taken_apart(normalised)
    if found is None or len(found[0][0]) > MAX_DIGITS or not is_unit(found[2]):
        return None
    match, factor, _ = found
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
