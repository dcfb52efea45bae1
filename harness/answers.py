"""Reading an answer: find it in a completion, then bring it to a canonical form. No model text is evaluated.

Everything here is plain string work, linear in the text, with a cap on what is read; values are Fractions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Rule = Literal["boxed", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]
UnfinishedBox = Literal["reject", "ignore"]

DEFAULT_RULES: tuple[Rule, ...] = ("boxed", "answer_is", "answer_colon", "a_colon", "hashes", "final_number")
MAX_COMPLETION_CHARS = 131_072  # only the end of a longer completion is read: about 32k tokens
MAX_ANSWER_CHARS = 500  # the longest MATH answer has 159
MAX_DIGITS = 200


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found: the raw answer and the rule that found it, or None and why."""

    answer: str | None
    rule: Rule | None
    reason: str


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BOX_TOKEN = re.compile(r"(\\(?:boxed|fbox)\s*\{)|\\.|([{}])", re.DOTALL)
_ANCHORS: dict[Rule, re.Pattern[str]] = {
    "answer_is": re.compile(r"\banswers?\b[^.\n:]{0,60}?\b(?:is|are|was|equals)\b\s*:?", re.IGNORECASE),
    "answer_colon": re.compile(r"\banswer\**\s*[:=]", re.IGNORECASE),
    "a_colon": re.compile(r"^[ \t*]*A\**[ \t]*:", re.MULTILINE),
    "hashes": re.compile(r"####"),
}
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_FINAL_NUMBER = re.compile(
    rf"(?<![\w)}}.])(-?\s?\$?{_DECIMAL}\s*/\s*\d+|-?\\[dtc]?frac\{{-?\d+\}}\{{\d+\}}|-\s?\$?{_DECIMAL})(?![\w])|{_DECIMAL}"
)
_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_SENTENCE_END = re.compile(r"(?<=\S)[.!?](?=\s|\*|$)")


def extract(
    completion: str, rules: tuple[Rule, ...] = DEFAULT_RULES, *, unfinished_box: UnfinishedBox = "reject"
) -> Extraction:
    r"""The first rule of `rules` that finds an answer, each rule looking for its last occurrence.

    "boxed" takes the last complete non-empty `\boxed{...}` or `\fbox{...}` with balanced braces. A box that
    is opened and never closed (a completion cut at the length limit) is not an answer. If no box is complete,
    `unfinished_box` decides: "reject" (default) finds nothing, because the other rules would read a cut
    number (`\boxed{2` of `\boxed{25}`); "ignore" lets the other rules read the text before that box.
    """
    text = completion[-MAX_COMPLETION_CHARS:]
    for rule in rules:
        if rule == "boxed":
            answer, unfinished = _last_box(text)
            if answer is None and unfinished is not None:
                if unfinished_box == "reject":
                    return Extraction(None, None, "unfinished box")
                text = text[:unfinished]
        elif rule == "final_number":
            answer = _final_number(text)
        else:
            answer = _after_anchor(text, _ANCHORS[rule])
        if answer:
            return Extraction(answer, rule, rule)
    return Extraction(None, None, "no answer found")


def _last_box(text: str) -> tuple[str | None, int | None]:
    """The content of the complete box that ends last, and where the first unfinished box starts."""
    first = _BOX.search(text)
    if first is None:
        return None, None
    answer = None
    stack: list[tuple[int, int] | None] = []  # (start of the marker, start of the content); None for a bare {
    for match in _BOX_TOKEN.finditer(text, first.start()):
        if match[1]:
            stack.append((match.start(), match.end()))
        elif match[2] == "{":
            stack.append(None)
        elif match[2] == "}" and stack:
            opened = stack.pop()
            if opened is not None and text[opened[1] : match.start()].strip():
                answer = text[opened[1] : match.start()].strip()
    unfinished = next((opened[0] for opened in stack if opened is not None), None)
    return answer, unfinished


def _after_anchor(text: str, anchor: re.Pattern[str]) -> str | None:
    last = None
    for last in anchor.finditer(text):  # noqa: B007  (the last match is wanted)
        pass
    if last is None:
        return None
    rest = text[last.end() : last.end() + 2 * MAX_ANSWER_CHARS].lstrip(" \t\r\n*:")
    return _trim_statement(rest)


def _trim_statement(rest: str) -> str | None:
    """The answer at the start of `rest`: a math span, else the first sentence less the prose around it."""
    if rest.startswith("\\["):
        rest = rest.replace("\n", " ")
    line = rest.split("\n", 1)[0]
    span = _MATH_SPAN.search(line)
    if span is not None and not any(c.isdigit() for c in line[: span.start()]):
        inner = next(group for group in span.groups() if group)
        if not _PROSE.search(re.sub(r"\\(?:text|mbox|mathrm|begin|end)\s*\{[^{}]*\}", "", inner)):
            return inner.rsplit("=", 1)[-1].strip() if "," not in inner else inner.strip()
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0].strip(" \t*\"'`")
    if not any(c.isdigit() for c in sentence):
        return sentence or None
    if _PROSE.search(sentence):
        numbers = [m[0] for m in _FINAL_NUMBER.finditer(sentence)]
        if numbers:
            return numbers[0] if re.match(r"[-$(]*[\d.]", sentence) else numbers[-1]
    return sentence.rsplit("=", 1)[-1].strip() if "," not in sentence else sentence


def _final_number(text: str) -> str | None:
    last = None
    for match in _FINAL_NUMBER.finditer(text[-4 * MAX_ANSWER_CHARS :]):
        last = match[0]
    return last


_LAYOUT = re.compile(
    r"(?<!\\)\\[!,;:]|\\(?:left|right|displaystyle|textstyle|limits|big|Big|bigg|Bigg)(?![A-Za-z])|\\?\$|[£€]"
    r"|\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\degree(?![A-Za-z])"
)
_REPLACED = [
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"(?<!\\)\\ |~|\\q?quad(?![A-Za-z])|\s+"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[−–‐‑]"), "-"),
    (re.compile(r"×"), r"\\times "),
    (re.compile(r"[·⋅]"), r"\\cdot "),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)"), r"\\times "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"∞"), r"\\infty "),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
    (re.compile(r"\\sqrt\s*(\d)"), r"\\sqrt{\1}"),
]
_TEXT = r"\\(?:text|textbf|textrm|textit|textnormal|mathrm|mathbf|mbox|rm|operatorname)"
_WRAPPED = re.compile(rf"(?:\\(?:boxed|fbox)|{_TEXT})\s*\{{([^{{}}]*)\}}")
_BOXED_WHOLE = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}", re.DOTALL)
_ASSIGNED = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?\s*=\s*([^=,]+)")
_INTEGER = re.compile(r"[-+]?\d{1,200}")


def normalise(text: str) -> str:
    """`text` without LaTeX layout, currency, degrees, wrappers, a leading `x =` and closing punctuation."""
    if _INTEGER.fullmatch(text):
        return text
    out = _LAYOUT.sub("", text)
    for pattern, replacement in _REPLACED:
        out = pattern.sub(replacement, out)
    out = out.strip().removeprefix("**").removesuffix("**").strip(" `\"'").rstrip(".,;: \\").lstrip("=: ")
    if boxed := _BOXED_WHOLE.fullmatch(out):
        out = boxed[1].strip()
    if wrapped := _WRAPPED.fullmatch(out):
        out = wrapped[1].strip().rstrip(".")
    if assigned := _ASSIGNED.fullmatch(out):
        out = assigned[1].strip()
    if choice := re.fullmatch(r"\(\s*([A-Za-z])\s*\)", out):
        out = choice[1]
    return out


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
_REPEATING = re.compile(r"([-+]?)(\d{0,20})\.(\d{0,20})\\overline\s*\{(\d{1,20})\}")
_UNIT_POWER = re.compile(r"\s*\^\s*\{?\s*[23]\s*\}?$|[²³]$")
_SHORT_UNITS = re.compile(
    r"[mgshlLVWJNAKCF]|kg|[mck]m|in|ft|yd|mi|lbs?|oz|hrs?|min|ms|[mk]?[lL]|[mk]ph|[ap]m|[mghs]\.|yrs?|cc|Hz|Pa|sq|cu|of|%"
)
_NOT_UNITS = re.compile(
    r"pi|sqrt|(?:m|b|tr)illions?|thousands?|hundreds?|dozens?|scores?|half|halves|and|or|to|mod|is|not|never|sin"
    r"|cos|tan|log|ln|times|plus|minus|over|base|if|when|more|less|wrong|about|at|than|least|most"
)


def is_unit(rest: str) -> bool:
    r"""Whether what follows a number is a unit: `%`, `\text{ cm}^2`, `dollars`, `miles per hour`, `km/h`."""
    opened = _WRAPPED.sub(r" \1 ", rest)
    words = [w for w in re.split(r"[\s/-]+", _UNIT_POWER.sub("", opened.strip())) if w]
    if len(words) > 5 or not words:
        return not opened.strip()
    if not all(re.fullmatch(r"[A-Za-z]+(?:\.[A-Za-z]+)*[.,]?|%", w) for w in words):
        return False
    if any(_NOT_UNITS.fullmatch(w.lower().rstrip(".,")) for w in words):
        return False
    return opened != rest or all(len(w) > 2 or _SHORT_UNITS.fullmatch(w) for w in words)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" ", ""))


def _repeating(sign: str, whole: str, fixed: str, period: str) -> Fraction:
    """0.1\\overline{6} = (16 - 1) / 90."""
    nines = (10 ** len(period) - 1) * 10 ** len(fixed)
    value = Fraction(int(whole + fixed + period or 0) - int(whole + fixed or 0), nines)
    return -value if sign == "-" else value


def parse_number(normalised: str) -> Fraction | None:
    """The exact value of a number with an optional unit, or None for anything else.

    Integers (leading zeros, thousands separators), decimals, `a/b`, `\\frac{a}{b}`, mixed numbers and
    `a \\times 10^{n}`. A unit is dropped and a percent sign counts as one: 25% is 25, not 0.25, as in MATH.
    """
    if _INTEGER.fullmatch(normalised):
        return Fraction(int(normalised))
    if repeating := _REPEATING.fullmatch(normalised):
        return _repeating(*repeating.groups())
    match = _NUMBER.match(normalised)
    if match is None or len(match[0]) > MAX_DIGITS or not is_unit(normalised[match.end() :]):
        return None
    g = match.groupdict()
    try:
        if g["whole"]:
            value = int(g["whole"]) + Fraction(int(g["mnum"] or g["mn"]), int(g["mden"] or g["md"]))
        elif g["num"]:
            value = _decimal(g["num"]) / _decimal(g["den"])
        elif g["a"]:
            value = _decimal(g["a"]) / _decimal(g["b"])
        else:
            value = _decimal(g["spaced"] or g["dec"]) * Fraction(10) ** int(g["exp"] or g["e"] or 0)
    except ZeroDivisionError:
        return None
    return -value if g["sign"] == "-" else value


_BASED = re.compile(r"(\d+)\s*_\s*\{?\s*(?:\d+|[a-z]+)\s*\}?")


def without_base(normalised: str) -> str:
    """`2516_8` -> `2516`; anything else unchanged."""
    based = _BASED.fullmatch(normalised)
    return based[1] if based else normalised


_ESCAPED = re.compile(r"\\([_%&#$])")
_AFTER_SIGN = re.compile(r"(?<=[,;])\s+")


def literal_text(text: str) -> str:
    r"""What stands there: `\text{}` wrappers opened, escapes undone, blanks as one and none after commas."""
    out = _ESCAPED.sub(r"\1", _WRAPPED.sub(r"\1", text))
    return _AFTER_SIGN.sub("", " ".join(out.split()))


_WORDS = re.compile(r"[A-Za-z][A-Za-z '\-.]*")


def canonical_text(normalised: str) -> str:
    """Blanks removed, `^{2}` and `x_{1}` unbraced, text wrappers opened; words compare without case."""
    out = _WRAPPED.sub(r"\1", normalised)
    if _WORDS.fullmatch(out):
        return re.sub(r"[\s.]+", " ", out).strip().casefold()
    joined = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", out)  # `2 5` is not 25
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", joined)
