r"""Bringing an answer to one form: a table of what is dropped and what is written otherwise, applied once.

No model text is evaluated. Everything here is plain string work, linear in the text.
"""

from __future__ import annotations

import re
import unicodedata

from harness.grading.compare.quantities import INTEGER, TEXT_COMMAND, WRAPPED, is_label
from harness.grading.lexicon import CARDINALS

MAX_ANSWER_CHARS = 500  # the longest MATH answer has 159
_SYMBOLS = str.maketrans(
    dict.fromkeys("−–‐‑‒﹣", "-")
    | dict.fromkeys("·⋅∙", r"\cdot ")
    | dict.fromkeys("≤⩽≦", "<=")
    | dict.fromkeys("≥⩾≧", ">=")
    | dict.fromkeys("º˚", "°")
    | dict.fromkeys("′’‘", "'")
    | dict.fromkeys("“”„«»", '"')
    | dict.fromkeys("⁄∕", "/")
    | dict.fromkeys("、，", ",")
    | dict.fromkeys("⇒⟹", r"\Rightarrow ")
    | {"≔": "=", "。": ".", "…": "...", "ℝ": r"\mathbb{R}", "×": r"\times ", "÷": r"\div ", "∞": r"\infty "}
    | {"±": r"\pm ", "∓": r"\mp ", "∠": r"\angle ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv "}
    | {"∅": r"\emptyset ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∨": r"\lor "}
    | {"∧": r"\land ", "α": r"\alpha ", "β": r"\beta ", "θ": r"\theta ", "λ": r"\lambda ", "π": r"\pi "}
    | {"φ": r"\phi ", "ω": r"\omega "}
)
_NOT_ENCLOSED = re.compile("[^①-⓿❶-➓㈠-㊿🄀-🄌]+")  # a mark such as ① is not the number in it
_RAISED = re.compile("[⁰¹²³⁴-⁻ⁿ]+")
_LOWERED = re.compile("[₀-₉]+")
_FRACTION_SIGN = re.compile("[¼-¾⅐-⅞]")
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
_IN_WORDS = re.compile(rf"(?:\\[ ,;~])?\s*(?:{TEXT_COMMAND}\s*\{{\s*degrees?\s*\}}|degrees?\b)")
_FONT = r"\\(?:math(?:bf|rm|sf|tt|it|normal)|bm|boldsymbol|pmb|text(?:bf|rm|sf|tt|it|normal)?|mbox)"
_CHOOSE = r"(?:\\(?:text|mathrm)\s*\{\s*)?C\s*\}?"
_FUNCTION = r"(arcsin|arccos|arctan|cis|gcd|lcm|max|min|log|ln|exp|sin|cos|tan|cot|sec|csc|mod)"
_ARGUMENT = r"\{?\s*(\d+)\s*\}?"
_LAYOUT = """left right displaystyle textstyle limits big Big bigg Bigg bigl bigr bigm Bigl Bigr biggl biggr
    Biggl Biggr strut mathstrut therefore nobreak bf it sf tt bfseries itshape normalsize small tiny large
    Large LARGE huge Huge hfill checkmark blacksquare square qed texteuro pounds euro"""
_COMMANDS = dict.fromkeys(_LAYOUT.split(), "") | {
    **dict.fromkeys(("le", "leq", "leqslant"), "<="),
    **dict.fromkeys(("ge", "geq", "geqslant"), ">="),
    **dict.fromkeys(("vert", "lvert", "rvert"), "|"),
    **dict.fromkeys(("dots", "ldots", "cdots"), "..."),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac"), r"\frac"),
    **{"lt": "<", "gt": ">", "coloneqq": "=", "langle": "(", "rangle": ")", "lbrace": r"\{", "rbrace": r"\}"},
    **{"bigcup": r"\cup", "bigcap": r"\cap", "varnothing": r"\emptyset"},
}
_COMMAND = re.compile(r"\\(?:left|right)\s*\.|\\([A-Za-z]+)")
_FORMS = [
    (re.compile(pattern), new)
    for pattern, new in [
        # Layout that says nothing.
        (r"(?<=\d)\s*,\s*\\!\s*(?=\d{3}(?!\d))", ","),
        (r"(?<!\\)\\[()\[\]]", ""),
        # A thin blank groups by three: `6\,000`, not `2\,5`.
        (r"(?<=\d)\s*\\[,;:]\s*(?=\d)(?!\d{3}(?!\d))", " "),
        (r"\\(?:h|v)?phantom\s*\{[^{}]*\}|\\[hv]space\*?\{[^{}]*\}|\\(?:text)?color(?:box)?\{[^{}]*\}", ""),
        (r"\\(?:num|pu)\s*\{([\d.,e+-]*)\}", r"\1"),
        (r"(?<!\\)\\[!,;:]|\\rm(?!\s*\{|[A-Za-z])|\\?\$|[£€¥₹¢∴✓✔✅]|\\#", ""),
        (r"[\u2600-\u2775\u2794-\u27bf\ufe0f\u2b50-\u2b59\U0001f000-\U0001faff]", ""),
        (r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff]", ""),
        (r"\{(\d+)\}°", r"\1°"),
        (r"(?:(?<!\\)\\ |~|\\q?quad(?![A-Za-z])|\s)+", " "),
        (r"\\begin\{(?:aligned|align|gathered|equation|split|multline)\*?\}(.*)\\end\{\w+\*?\}", r"\1"),
        (r"(?:\\\\(?:\[[^\[\]]*\])?|\\cr(?![A-Za-z]))", r"\\\\"),
        # Signs, fonts and names.
        (r"\{,\}|(?<=\d)(?:'|_(?=\d{3}(?:_|$)))(?=\d{3}(?!\d))", ","),
        (":=", "="),
        (r"\+\s*/\s*-", r"\\pm "),
        (rf"{_FONT}\s*(?=\{{\s*-?\s*\\[a-z]*frac)", ""),
        (rf"({TEXT_COMMAND}\s*\{{\s*){TEXT_COMMAND}\s*\{{([^{{}}]*)\}}\s*\}}", r"\1\2}"),
        (rf"\\(?:operatorname\*?|text|mathrm)\s*\{{\s*{_FUNCTION}\s*\}}", r"\\\1 "),
        (rf"{_FONT}\s*\{{\s*e\s*\}}", "e"),
        (r"\\%", "%"),
        (r"\\\{\s*\\\}", r"\\emptyset"),
        (r"(?<![A-Za-z\\])[Ii]nf(?:inity|ty)?(?![A-Za-z])", r"\\infty "),
        # Fractions, roots, products and binomials.
        (rf"(?:\{{\}}\s*)?[_^]\s*{_ARGUMENT}\s*{_CHOOSE}\s*_\s*{_ARGUMENT}", r"\\binom{\1}{\2}"),
        (rf"(?<![A-Za-z\\]){_CHOOSE}\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", r"\\binom{\1}{\2}"),
        (r"(\{)?\s*([^{}\\]+?)\s*\\choose(?![A-Za-z])\s*([^{}\\]+?)\s*(?(1)\}|$)", r"\\binom{\2}{\3}"),
        (r"\{\s*([^{}\\]+?)\s*\\over(?![A-Za-z])\s*([^{}\\]+?)\s*\}", r"\\frac{\1}{\2}"),
        (r"^\s*([^{}]+?)\s*\\over(?![A-Za-z])\s*([^{}]+?)\s*$", r"\\frac{\1}{\2}"),
        (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)|(?<=\d)\s+[xX]\s+(?=[\d(.])", r"\\times "),
        (r"\\frac\s*(\d)\s*(?=[\d{])", r"\\frac{\1}"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\[\w\])?\s*(\d)", r"\\sqrt\1{\2}"),
        # Words around the value.
        (r"^\\approx\s*(?=[-\d\\.])", ""),
        (r",?\s*(?:\\text\s*\{\s*,?\s*)?(?:for (?:all|any|every|each)|\\forall)(?![A-Za-z]).{0,60}$", ""),
    ]
]
# `The answer is 25`, `Total: 25` inside a box.
_LEAD = re.compile(
    rf"(?:{TEXT_COMMAND}\s*\{{\s*)?(?![A-J]:)([A-Za-z][A-Za-z' ]{{0,60}})\s*\}}?\s*"
    r"(?:\b(?:is|are|equals)\b|:)\s*\}?\s*(?=[-\d\\(\[])"
)
_CHOICE = re.compile(r"\(\s*([A-Za-z])\s*\)")
_ALIGNED = re.compile(r"\\begin\{(?:aligned|align|gathered|split)\*?\}")


def normalise(text: str) -> str:
    """`text` without LaTeX layout, currency, wrappers, `The answer is` and closing punctuation."""
    if INTEGER.fullmatch(text):
        return text
    out = text if text.isascii() else _ascii(text)
    if "°" in out or "^" in out or "degree" in out:
        out = _IN_WORDS.sub("°", _MARKED.sub("°", out))
    if _ALIGNED.search(out):  # `x &= 20 + 5 \\ &= 25`
        out = re.sub(r"\\\\\s*(?==)", " ", out.replace("&", ""))
    out = _COMMAND.sub(lambda m: _COMMANDS.get(m[1] or "left", m[0]), out)
    for pattern, new in _FORMS:
        out = pattern.sub(new, out)
    return _without_wrappers(_without_marks(EASTERN_UNIT.sub("", out)))


def _without_marks(text: str) -> str:
    """Without the blanks, quotes and stars around it and the punctuation after it."""
    out = text.strip().removeprefix("**").removesuffix("**").strip(' `"').lstrip("=: ")
    if out[:1] == out[-1:] == "'":
        out = out.strip("'")
    return out if out.endswith("...") else out.rstrip(".,;: \\")


def _without_wrappers(text: str) -> str:
    """The value alone: out of boxes, words that lead to it, braces, and `(A)`."""
    out = text
    if wrapped := WRAPPED.fullmatch(out):
        out = wrapped[1].strip().rstrip(".")
    if (lead := _LEAD.match(out)) and is_label(lead[1]):
        out = out[lead.end() :]
    if choice := _CHOICE.fullmatch(out):
        out = choice[1]
    return out


def _plain(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])


def _ascii(text: str) -> str:
    """Signs, raised digits, fractions and wide letters of Unicode as LaTeX: `3½`, `5²`, `√2`, `１`."""
    out = _RAISED.sub(lambda m: f"^{{{_plain(m)}}}", text)
    out = _LOWERED.sub(lambda m: f"_{{{_plain(m)}}}", out)
    out = _FRACTION_SIGN.sub(lambda m: rf"\frac{{{_plain(m).replace('⁄', '}{')}}}", out)
    out = _ROOT_SIGN.sub(lambda m: rf"\sqrt{_ROOTS[m[1]]}{{{m[2] or m[3] or m[4]}}}", out)
    return _NOT_ENCLOSED.sub(_plain, out.translate(_SYMBOLS)).translate(_SYMBOLS)


_BASED = re.compile(
    r"\(?(-?)\s*0*(\w*(?:\.\w+)?)\)?\s*(?:_\s*\{?\s*\(?(?:base[ -])?|,?\s*\(?(?:in )?base[ -])"
    r"\s*(\w+)\s*\)?\s*\}?\)?"
)


def with_base(normalised: str) -> tuple[str, str | None]:
    r"""(`2516`, `8`) of `2516_8`, `2516_{\text{eight}}`, `2516 \text{ (base 8)}`; else the base is None."""
    text = WRAPPED.sub(r"\1", normalised)
    based = _BASED.fullmatch(text)
    base = str(CARDINALS.get(based[3].lower(), based[3])) if based else ""
    digits = r"\d\w*|[\dA-F]+" if base in ("11", "12", "16") else r"[\d.].*"
    if based is None or not re.fullmatch(digits, based[2] or "0"):
        return text, None
    return (based[1] + based[2]).upper(), base


_ESCAPED = re.compile(r"\\([_%&#$])")
_AFTER_SIGN = re.compile(r"(?<=[,;])\s+")
_WORDS = re.compile(r"[\d:\s]*[A-Za-z][A-Za-z '\-.]*")  # also `4:30 p.m.`


def literal_text(text: str) -> str:
    r"""What stands there: `\text{}` wrappers opened, escapes undone, blanks as one and none after commas."""
    out = _ESCAPED.sub(r"\1", WRAPPED.sub(r"\1", text))
    return _AFTER_SIGN.sub("", " ".join(out.split()))


def canonical_text(normalised: str) -> str:
    r"""Blanks removed, `^{2}` and `\mathbb{R}` unbraced, text wrappers opened; words compare without case."""
    out = WRAPPED.sub(r"\1", normalised)
    if _WORDS.fullmatch(out):
        return re.sub(r"[\s.]+", "", out).casefold()
    joined = re.sub(r"(?<![\d.])\s+|\s+(?![\d.])", "", out)  # `2 5` is not 25, nor `2. 5`
    return re.sub(r"([\^_]|\\mathbb)\{(\w)\}", r"\1\2", joined)
