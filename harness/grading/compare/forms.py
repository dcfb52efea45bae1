r"""Bringing an answer to one form: a table of what is dropped and what is written otherwise, applied once.

No model text is evaluated. Everything here is plain string work, linear in the text.
"""

from __future__ import annotations

import html
import re
import unicodedata

from harness.grading.compare.quantities import INTEGER, TEXT_COMMAND, UNIT_FRACTION, WRAPPED, is_label
from harness.grading.lexicon import CARDINALS

MAX_ANSWER_CHARS = 500  # the longest MATH answer has 159
_SYMBOLS = str.maketrans(
    dict.fromkeys("−–‐‑‒﹣", "-")
    | dict.fromkeys("·⋅∙", r"\cdot ")
    | dict.fromkeys("≤⩽≦", r"\le ")
    | dict.fromkeys("≥⩾≧", r"\ge ")
    | dict.fromkeys("º˚", "°")
    | dict.fromkeys("′’‘", "'")
    | dict.fromkeys("“”„«»", '"')
    | dict.fromkeys("⁄∕", "/")
    | dict.fromkeys("、，", ",")
    | {
        "×": r"\times ",
        "÷": r"\div ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "±": r"\pm ",
        "∓": r"\mp ",
        "∠": r"\angle ",
    }
    | {"≠": r"\ne ", "≔": "=", "≈": r"\approx ", "≡": r"\equiv ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}"}
    | {"∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∨": r"\lor ", "∧": r"\land ", "…": "..."}
    | {"α": r"\alpha ", "β": r"\beta ", "θ": r"\theta ", "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega "}
    | {"⇒": r"\Rightarrow ", "⟹": r"\Rightarrow ", "。": "."}
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ENCLOSED = re.compile("([①-⓿❶-➓㈠-㊿🄀-🄌]+)")  # a mark such as ① is not the number in it
_FRACTION_SIGN = re.compile("[½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
_ROOT_SIGN = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))")
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
# Counters and units after a number (个, 元, 度, 명); none that changes the value (万, 以上, 이하).
EASTERN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
EASTERN_UNIT = re.compile(
    rf"(?<=[\d}}°.])\s*(?:{TEXT_COMMAND}\s*\{{\s*)?"
    rf"(?![^}}]*[万萬亿億千百十兆以超未満满多半余餘左右约約倍或和分割折度负負만억천백십조이상하초과미배반약또와과\u4e0d的の阶階倒之]|[^}}]*方\s*\}}?$)[{EASTERN}]{{1,8}}\s*\}}?$"
    r"|(?<=\d)\s*(?:\\text\s*\{\s*)?度\s*\}?$"
)
_MARKED = re.compile(
    r"\s*(?:\^\s*(?:\\circ|o(?![A-Za-z])|\{\s*\\circ\s*\}|\{?\s*(?:\\(?:text|mathrm|rm)\s*\{?\s*)?o\s*\}\}?)"
    r"|°|\\(?:text)?degree(?:s|\{\})?)(?![A-Za-z])"
)
_DEGREES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)°")
_ANGLE = re.compile(
    r"(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc|cis)(?:\s*\^\s*(?:\d|\{-?\d\}))?\s*(?:\\left)?\s*\}?\s*"
    r"(?:\([^()]*\)|\{[^{}]*\}|-?\s*\d[\d.]*°)"
)
_ENTITY = re.compile(
    r"&(?:nbsp|[gl][te]|minus|times|divide|deg|pi|radic|infin|plusmn|frac\d\d|#\d{1,5}|#x[\da-f]{1,4});"
)
_FONT = r"\\(?:math(?:bf|rm|sf|tt|it|normal)|bm|boldsymbol|pmb|text(?:bf|rm|sf|tt|it|normal)?|mbox)"
_CHOOSE = r"(?:\\(?:text|mathrm)\s*\{\s*)?C\s*\}?"
_FUNCTION = r"(arcsin|arccos|arctan|cis|gcd|lcm|max|min|log|ln|exp|sin|cos|tan|cot|sec|csc|mod)"
_ARGUMENT = r"\{?\s*(\d+)\s*\}?"
_FORMS = [
    (re.compile(pattern), new)
    for pattern, new in [
        # Layout that says nothing.
        (r"(?<=\d)\s*,\s*\\!\s*(?=\d{3}(?!\d))", ","),
        (r"(?<!\\)\\[()\[\]]", ""),
        (
            r"(?<=\d)\s*\\[,;:]\s*(?=\d)(?!\d{3}(?!\d))",
            " ",
        ),  # a thin blank groups by three: `6\,000`, not `2\,5`
        (r"\\(?:left|right)\s*\.", ""),
        (r"\\(?:h|v)?phantom\s*\{[^{}]*\}|\\[hv]space\*?\{[^{}]*\}|\\(?:text)?color(?:box)?\{[^{}]*\}", ""),
        (r"\\(?:num|pu)\s*\{([\d.,e+-]*)\}", r"\1"),
        (
            r"(?<!\\)\\[!,;:]|\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lrm]?|(?:math)?strut|therefore"
            r"|nobreak|bf|it|sf|tt|bfseries|itshape|normalsize|small|tiny|large|Large|LARGE|huge|Huge|hfill|checkmark"
            r"|blacksquare|square|qed|texteuro|rm(?!\s*\{))(?![A-Za-z])|\\?\$|[£€¥₹¢∴✓✔✅]|\\pounds|\\euro|\\#",
            "",
        ),
        (r"[\u2600-\u2775\u2794-\u27bf\ufe0f\u2b50-\u2b59\U0001f000-\U0001faff]", ""),
        (r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff]|\s*°", ""),
        (r"(?:(?<!\\)\\ |~|\\q?quad(?![A-Za-z])|\s)+", " "),
        (r"\\begin\{(?:aligned|align|gathered|equation|split|multline)\*?\}(.*)\\end\{\w+\*?\}", r"\1"),
        (r"\\begin\{array\}\s*\{[^{}]*\}([^&\\]*)\\end\{array\}", r"\1"),
        (r"(?:\\\\(?:\[[^\[\]]*\])?|\\cr(?![A-Za-z]))", r"\\\\"),
        # Signs, fonts and names.
        (r"\{,\}|(?<=\d)'(?=\d{3}(?!\d))", ","),
        (r":=|\\coloneqq(?![A-Za-z])", "="),
        (r"(^|[=,(])\s*(?:\+\s*-|-\s*\+)(?=\s*[\d\\.])", r"\1\\pm "),
        (r"\+\s*/\s*-", r"\\pm "),
        (rf"{_FONT}\s*(?=\{{\s*-?\s*\\[a-z]*frac)", ""),
        (rf"({TEXT_COMMAND}\s*\{{\s*){TEXT_COMMAND}\s*\{{([^{{}}]*)\}}\s*\}}", r"\1\2}"),
        (rf"\\(?:operatorname\*?|text|mathrm)\s*\{{\s*{_FUNCTION}\s*\}}", r"\\\1 "),
        (rf"{_FONT}\s*\{{\s*e\s*\}}", "e"),
        (rf"{_FONT}\s*\{{\s*-\s*\}}", "-"),
        (r"\\%", "%"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\([lg])eqslant(?![A-Za-z])", r"\\\1e"),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\big(cup|cap)(?![A-Za-z])", r"\\\1"),
        (r"\\[lc]?dots(?![A-Za-z])", "..."),
        (r"(?<![A-Za-z\\])[Ii]nf(?:inity|ty)?(?![A-Za-z])", r"\\infty "),
        (r"\\mathbb\s+([A-Z])", r"\\mathbb{\1}"),
        # Fractions, roots, products and binomials.
        (r"\\[dtcs]frac(?![A-Za-z])", r"\\frac"),
        (rf"\{{\}}\s*_\s*{_ARGUMENT}\s*{_CHOOSE}\s*_\s*{_ARGUMENT}", r"\\binom{\1}{\2}"),
        (rf"(?:\{{\}}\s*)?[_^]\s*{_ARGUMENT}\s*{_CHOOSE}\s*_\s*{_ARGUMENT}", r"\\binom{\1}{\2}"),
        (rf"(?<![A-Za-z\\]){_CHOOSE}\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", r"\\binom{\1}{\2}"),
        (r"\{?\s*([^{}\\]+?)\s*\\choose(?![A-Za-z])\s*([^{}\\]+?)\s*\}", r"\\binom{\1}{\2}"),
        (r"^\s*(\w+)\s*\\choose(?![A-Za-z])\s*(\w+)\s*$", r"\\binom{\1}{\2}"),
        (r"\{\s*([^{}\\]+?)\s*\\over(?![A-Za-z])\s*([^{}\\]+?)\s*\}", r"\\frac{\1}{\2}"),
        (r"^\s*([^{}]+?)\s*\\over(?![A-Za-z])\s*([^{}]+?)\s*$", r"\\frac{\1}{\2}"),
        (r"\^\s*\{\s*(\d+)\s*\}\s*/\s*_\s*\{\s*(\d+)\s*\}", r"\\frac{\1}{\2}"),
        (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)|(?<=\d)\s+[xX]\s+(?=[\d(.])", r"\\times "),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\frac\s*\\pi\s*(\d)", r"\\frac{\\pi}{\1}"),
        (r"\\sqrt\s*(\[\w\])?\s*(\d)", r"\\sqrt\1{\2}"),
        (rf"(?<=[\d}}])\s*(?:\\mathrm\s*\{{\s*)?{UNIT_FRACTION}\s*\}}?\s*\.?$", r" \1\2\3/\4\5\6"),
        # Words around the value.
        (r"^(?:US|USD|EUR|GBP|INR|Rs\.?)\s*(?=\d)", ""),
        (r",?\s*(?:\\text\s*\{\s*,?\s*)?(?:for (?:all|any|every|each)|\\forall)(?![A-Za-z]).{0,60}$", ""),
        (r"\s*\\text\s*\{\s*\((?:by|from|using|via|since|as|see|final|answer|checked)\b[^{}]*\)\s*\}$", ""),
    ]
]
# A box inside a box, perhaps with words: `\text{So } \boxed{25}`.
_BOXED_WHOLE = re.compile(
    rf"((?:{TEXT_COMMAND}\s*\{{[A-Za-z ,:]*\}}|[A-Za-z ,:])*)\\(?:boxed|fbox)\s*\{{(.*)\}}", re.DOTALL
)
# `The answer is 25`, `Total: 25` inside a box.
_LEAD = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?![A-J]:)([A-Za-z][A-Za-z' ]{{0,60}})\s*\}}?\s*"
    r"(?:\b(?:is|are|equals)\b|:)\s*\}?\s*(?=[-\d\\(\[])"
)
_MINUS = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?:negative|minus)\s*\}}?\s*(?=[\d.]|\\frac)", re.IGNORECASE
)
_FEET = re.compile(r"-?\d[\d.,]*'{1,2}")
_VERB = re.compile(r"\b(?:is|are|equals)\b[\s:]*$")
_BRACED = re.compile(r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_CHOICE = re.compile(r"\(\s*([A-Za-z])\s*\)")
_APPROXIMATELY = re.compile(r"\\approx\s*(?=[-\d\\.])")
_ALIGNED = re.compile(r"\\begin\{(?:aligned|align|gathered|split)\*?\}")


def normalise(text: str) -> str:
    """`text` without LaTeX layout, currency, degrees, wrappers, `The answer is` and closing punctuation."""
    if INTEGER.fullmatch(text):
        return text
    out = _ENTITY.sub(lambda m: html.unescape(m[0]), text) if "&" in text else text
    out = out if out.isascii() else _ascii(out)
    if "°" in out or "^" in out or "degree" in out:
        out = _ANGLE.sub(lambda m: _DEGREES.sub(r"\\frac{\1\\pi}{180}", m[0]), _MARKED.sub("°", out))
    if _ALIGNED.search(out):  # `x &= 20 + 5 \\ &= 25`
        out = re.sub(r"\\\\\s*(?==)", " ", out.replace("&", ""))
    for pattern, new in _FORMS:
        out = pattern.sub(new, out)
    return _without_wrappers(_without_marks(EASTERN_UNIT.sub("", out)))


def _without_marks(text: str) -> str:
    """Without the blanks, quotes and stars around it and the punctuation after it."""
    out = text.strip().removeprefix("**").removesuffix("**").strip(' `"').lstrip("=: ")
    if out.startswith("__") and out.endswith("__"):
        out = out.strip("_")
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
    out = "".join(p if i % 2 else unicodedata.normalize("NFKC", p) for i, p in enumerate(pieces))
    return out.translate(_SYMBOLS)


def _as_frac(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}"


_BASES = {
    word: str(CARDINALS[word])
    for word in re.findall(r"\w+", "two three four five six seven eight nine ten eleven twelve sixteen")
}
_BASED = re.compile(
    r"\(?(-?)\s*0*(\w*(?:\.\w+)?)\)?\s*(?:_\s*\{?\s*\(?(?:base[ -])?|,?\s*\(?(?:in )?base[ -])"
    r"\s*(\w+)\s*\)?\s*\}?\)?"
)


def with_base(normalised: str) -> tuple[str, str | None]:
    r"""(`2516`, `8`) of `2516_8`, `2516_{\text{eight}}`, `2516 \text{ (base 8)}`; else the base is None."""
    text = WRAPPED.sub(r"\1", normalised)
    based = _BASED.fullmatch(text)
    if based is None or not re.match(r"[\d.]", based[2] or "0"):
        return re.sub(r"(?<![\d.])0+(?=\d|\.)", "", text), None
    return (based[1] + based[2]).upper(), _BASES.get(based[3].lower(), based[3])


_ESCAPED = re.compile(r"\\([_%&#$])")
_AFTER_SIGN = re.compile(r"(?<=[,;])\s+")
_WORDS = re.compile(r"[A-Za-z][A-Za-z '\-.]*")


def literal_text(text: str) -> str:
    r"""What stands there: `\text{}` wrappers opened, escapes undone, blanks as one and none after commas."""
    out = _ESCAPED.sub(r"\1", WRAPPED.sub(r"\1", text))
    return _AFTER_SIGN.sub("", " ".join(out.split()))


def canonical_text(normalised: str) -> str:
    """Blanks removed, `^{2}` and `x_{1}` unbraced, text wrappers opened; words compare without case."""
    out = WRAPPED.sub(r"\1", normalised)
    if _WORDS.fullmatch(out):
        return re.sub(r"[\s.]+", " ", out).strip().casefold()
    joined = re.sub(r"(?<![\d.])\s+|\s+(?![\d.])", "", out)  # `2 5` is not 25, nor `2. 5`
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", joined)
