"""Bringing an answer to a canonical form. No model text is evaluated.

Everything here is plain string work, linear in the text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from math import gcd

from harness.grading.compare.quantities import INTEGER, TEXT_COMMAND, UNIT_FRACTION, WRAPPED, is_label
from harness.grading.lexicon import CARDINALS

MAX_ANSWER_CHARS = 500  # the longest MATH answer has 159
_LAYOUT = re.compile(
    r"(?<!\\)\\[!,;:]|\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lrm]?|mathstrut|therefore|nobreak"
    r"|bf|it|sf|tt|bfseries|itshape|large|Large|huge|texteuro|rm(?!\s*\{))(?![A-Za-z])"
    r"|\\(?:h|v)space\*?\{[^{}]*\}|\\(?:text)?color\{[^{}]*\}|\\?\$|[£€¥₹¢∴]|\\pounds|\\euro"
    r"|\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\(?:text)?degree(?:s|\{\})?(?![A-Za-z])"
    r"|[\u200b-\u200f\u202a-\u202e\u2060\ufeff]"
)
_ENTITY = re.compile(
    r"&(?:nbsp|[gl][te]|minus|times|divide|deg|pi|radic|infin|plusmn|frac\d\d|#\d{1,5}|#x[\da-f]{1,4});"
)
_DEGREE = re.compile(r"\s*(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\(?:text)?degree(?:s|\{\})?)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)°")
_ANGLE = re.compile(
    r"(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*(?:\d|\{-?\d\}))?\s*(?:\\left)?\s*"
    r"(?:\([^()]*\)|\{[^{}]*\}|-?\s*\d[\d.]*°)"
)
# A thin blank groups digits by three: `6\,000`, while `2\,5` is two numbers.
_PARTED = re.compile(r"(?<=\d)\s*\\[,;:]\s*(?=\d)(?!\d{3}(?!\d))")
_GROUPED = re.compile(r"(?<=\d)\s*,\s*\\!\s*(?=\d{3}(?!\d))")
_MATH_MODE = re.compile(r"(?<!\\)\\[()\[\]]")
_SYMBOLS = str.maketrans(
    dict.fromkeys("−–‐‑", "-")
    | dict.fromkeys("·⋅∙", r"\cdot ")
    | dict.fromkeys("≤⩽", r"\le ")
    | dict.fromkeys("≥⩾", r"\ge ")
    | {"×": r"\times ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "±": r"\pm ", "∠": r"\angle "}
    | {
        "≠": r"\ne ",
        "≔": "=",
        "⁄": "/",
        "≈": r"\approx ",
        "≡": r"\equiv ",
        "∅": r"\emptyset ",
        "θ": r"\theta ",
    }
    | {"∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda "}
    | {"φ": r"\phi ", "ω": r"\omega ", "…": "...", "′": "'", "’": "'"}
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ENCLOSED = re.compile("([①-⓿❶-➓㈠-㊿🄀-🄌]+)")  # a mark such as ① is not the number in it
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_FRACTION_SIGN = re.compile("[½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
_ROOT_SIGN = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))")
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
_REPLACED = [
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"(?:(?<!\\)\\ |~|\\q?quad(?![A-Za-z])|\s)+"), " "),
    (re.compile(r"\{,\}|(?<=\d)'(?=\d{3}(?!\d))"), ","),
    (re.compile(r":=|\\coloneqq(?![A-Za-z])"), "="),
    (re.compile(r"\+\s*/\s*-"), r"\\pm "),
    (re.compile(rf"({TEXT_COMMAND}\s*\{{\s*){TEXT_COMMAND}\s*\{{([^{{}}]*)\}}\s*\}}"), r"\1\2}"),
    (re.compile(r"\{\s*([^{}\\]+?)\s*\\choose(?![A-Za-z])\s*([^{}\\]+?)\s*\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"^\s*(\w+)\s*\\choose(?![A-Za-z])\s*(\w+)\s*$"), r"\\binom{\1}{\2}"),
    (re.compile(r"\{\s*([^{}\\]+?)\s*\\over(?![A-Za-z])\s*([^{}\\]+?)\s*\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\mathbb\s+([A-Z])"), r"\\mathbb{\1}"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\[lr]?vert(?![A-Za-z])"), "|"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\([lg])eqslant(?![A-Za-z])"), r"\\\1e"),
    (re.compile(r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\[lc]?dots(?![A-Za-z])"), "..."),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)|(?<=\d)\s+[xX]\s+(?=[\d(.])"), r"\\times "),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\s*\{[^{}]*\})\s*(\d)"), r"\1{\2}"),
    (re.compile(r"\\frac\s*\\pi\s*(\d)"), r"\\frac{\\pi}{\1}"),
    (re.compile(r"\\sqrt\s*(\[\w\])?\s*(\d)"), r"\\sqrt\1{\2}"),
    (re.compile(rf"(?<=[\d}}])\s*(?:\\mathrm\s*\{{\s*)?{UNIT_FRACTION}\s*\}}?\s*\.?$"), r" \1\2\3/\4\5\6"),
    (re.compile(r"^(?:US|USD|EUR|GBP|INR|Rs\.?)\s*(?=\d)"), ""),
]
# A box inside a box, perhaps with words: `\text{So } \boxed{25}`.
_BOXED_WHOLE = re.compile(
    rf"((?:{TEXT_COMMAND}\s*\{{[A-Za-z ,:]*\}}|[A-Za-z ,:])*)\\(?:boxed|fbox)\s*\{{(.*)\}}", re.DOTALL
)
# `The answer is 25`, `Total: 25` inside a box
_LEAD = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?![A-J]:)([A-Za-z][A-Za-z' ]{{0,60}})(?:\b(?:is|are|equals)\b|:)"
    r"\s*\}?\s*(?=[-\d\\(\[])"
)
_MINUS = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:negative|minus)\s*\}}?\s*(?=[\d.]|\\frac)", re.IGNORECASE
)
_FEET = re.compile(r"-?\d[\d.,]*'{1,2}")
_VERB = re.compile(r"\b(?:is|are|equals)\b[\s:]*$")
_BRACED = re.compile(r"\{([^{}]*)\}")
_CHOICE = re.compile(r"\(\s*([A-Za-z])\s*\)")
_APPROXIMATELY = re.compile(r"\\approx\s*(?=[-\d\\.])")


def normalise(text: str) -> str:
    """`text` without LaTeX layout, currency, degrees, wrappers, `The answer is` and closing punctuation."""
    if INTEGER.fullmatch(text):
        return text
    return _without_wrappers(_without_marks(_without_layout(text)))


def _without_layout(text: str) -> str:
    """Plain LaTeX: entities, Unicode signs, fonts, degrees and ways to write a fraction brought to one."""
    out = _ENTITY.sub(lambda m: html.unescape(m[0]), text) if "&" in text else text
    out = out if out.isascii() else _ascii(out)
    if r"\!" in out:
        out = _GROUPED.sub(",", out)
    if marked := _DEGREE.sub("°", out) if "°" in out or "circ" in out or "degree" in out else "":
        out = _ANGLE.sub(lambda m: _DEGREES.sub(r"\\frac{\1\\pi}{180}", m[0]), marked)
    out = _LAYOUT.sub("", _PARTED.sub(" ", _MATH_MODE.sub("", out)))
    for pattern, replacement in _REPLACED:
        out = pattern.sub(replacement, out)
    return out


def _without_marks(text: str) -> str:
    """Without the blanks, quotes and stars around it and the punctuation after it."""
    out = text.strip().removeprefix("**").removesuffix("**").strip(' `"').lstrip("=: ")
    if (out[:1] == out[-1:] == "'") or _FEET.fullmatch(out):
        out = out.strip("'")
    return out if out.endswith("...") else out.rstrip(".,;: \\")


def _without_wrappers(text: str) -> str:
    """The value alone: out of boxes, words that lead to it, braces, and `(A)`; `minus 5` is -5."""
    out = text
    if (boxed := _BOXED_WHOLE.fullmatch(out)) and is_label(_VERB.sub("", WRAPPED.sub(r"\1", boxed[1]))):
        out = boxed[2].strip()
    if wrapped := WRAPPED.fullmatch(out):
        out = wrapped[1].strip().rstrip(".")
    if (lead := _LEAD.match(out)) and is_label(lead[1]):
        out = out[lead.end() :]
    if (minus := _MINUS.match(out)) and minus[0].count("{") == minus[0].count("}"):
        out = "-" + out[minus.end() :]
    if about := _APPROXIMATELY.match(out):
        out = out[about.end() :]
    if braced := _BRACED.fullmatch(out):
        out = braced[1].strip()
    if choice := _CHOICE.fullmatch(out):
        out = choice[1]
    return out


def _ascii(text: str) -> str:
    """Signs, raised digits, fractions and wide letters of Unicode as LaTeX: `3½`, `5²`, `√2`, `１`."""
    out = _RAISED.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    out = _LOWERED.sub(lambda m: "_{" + m[0].translate(_SUBSCRIPTS) + "}", out)
    out = _FRACTION_SIGN.sub(_as_frac, out)
    out = _ROOT_SIGN.sub(lambda m: rf"\sqrt{_ROOTS[m[1]]}{{{m[2] or m[3] or m[4]}}}", out)
    pieces = _ENCLOSED.split(out.translate(_SYMBOLS))
    return "".join(p if i % 2 else unicodedata.normalize("NFKC", p) for i, p in enumerate(pieces))


def _as_frac(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}"


_BASES = {
    word: str(CARDINALS[word])
    for word in re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve sixteen")
}
_BASED = re.compile(
    r"\(?(\w+)\)?\s*(?:_\s*\{?\s*\(?(?:base[ -])?|,?\s*\(?(?:in )?base[ -])\s*(\w+)\s*\)?\s*\}?\)?"
)


def with_base(normalised: str) -> tuple[str, str | None]:
    r"""(`2516`, `8`) of `2516_8`, `2516_{\text{eight}}`, `2516 \text{ (base 8)}`; else the base is None."""
    based = _BASED.fullmatch(WRAPPED.sub(r"\1", normalised))
    if based is None or not based[1][0].isdigit():
        return normalised, None
    return based[1].upper(), _BASES.get(based[2].lower(), based[2])


_ESCAPED = re.compile(r"\\([_%&#$])")
_AFTER_SIGN = re.compile(r"(?<=[,;])\s+")


def literal_text(text: str) -> str:
    r"""What stands there: `\text{}` wrappers opened, escapes undone, blanks as one and none after commas."""
    out = _ESCAPED.sub(r"\1", WRAPPED.sub(r"\1", text))
    return _AFTER_SIGN.sub("", " ".join(out.split()))


_WORDS = re.compile(r"[A-Za-z][A-Za-z '\-.]*")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:\s*([ap])\.?\s*m\.?)?", re.IGNORECASE)


_DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})|(\d{1,2})([-/.])(\d{1,2})\6(\d{4})")


def date(normalised: str) -> tuple[int, ...] | None:
    """(2025, 1, 3) of `2025-01-03` and (1, 3, 2025) of `1/3/2025`; None for what is no such date."""
    match = _DATE.fullmatch(normalised)
    return tuple(int(part) for part in match.groups() if part and part.isdigit()) if match else None


def clock(normalised: str) -> tuple[int, int, int, str] | None:
    """(11, 30, 0, `a`) of `11:30 a.m.` and `11:30:00 \\text{ AM}`, half "" of `11:30`; None for no time."""
    match = _CLOCK.fullmatch(WRAPPED.sub(r"\1", normalised.replace(" :", ":").replace(": ", ":")).strip())
    if match is None or not (match[2] or match[4]):
        return None
    hour, minute, second = (int(match[i] or 0) for i in (1, 2, 3))
    half = (match[4] or "").lower()
    if minute > 59 or second > 59 or hour > (12 if half else 24):
        return None
    return hour, minute, second, half


def is_time(normalised: str) -> bool:
    """Whether a reference is a time of day: with a.m. or p.m., or `9:24`, which as a ratio would be 3:8."""
    time = clock(normalised)
    if time is None:
        return False
    hour, minute, _, half = time
    return bool(half) or (gcd(hour, minute) != 1 and normalised.count(":") == 1) or ":0" in normalised


def same_time(gold: str, pred: str) -> bool:
    """Whether two are one time of day; a.m. or p.m. may be left out, and 4:30 p.m. is 16:30."""
    a, b = clock(gold), clock(pred)
    if a is None or b is None:
        return a is not None and a[3] != "" and not a[1] and not a[2] and pred == str(a[0])  # `9`
    if a[3] and b[3]:
        return a == b
    return a[:3] == b[:3] or _on_24(a) == _on_24(b)


def _on_24(time: tuple[int, int, int, str]) -> tuple[int, int, int]:
    hour, minute, second, half = time
    return ((hour % 12 + 12 * (half == "p")) if half else hour % 24), minute, second


def canonical_text(normalised: str) -> str:
    """Blanks removed, `^{2}` and `x_{1}` unbraced, text wrappers opened; words compare without case."""
    out = WRAPPED.sub(r"\1", normalised)
    if _WORDS.fullmatch(out):
        return re.sub(r"[\s.]+", " ", out).strip().casefold()
    if (time := clock(out)) and time[3]:
        hour, minute, second, half = time
        return f"{hour}:{minute:02}:{second:02}{half}m"
    joined = re.sub(r"(?<![\d.])\s+|\s+(?![\d.])", "", out)  # `2 5` is not 25, nor `2. 5`
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", joined)
