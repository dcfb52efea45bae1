"""Symbolic comparison of two answers by math-verify, in worker processes that can be killed.

math-verify hands fragments to sympy, whose parser evaluates and whose arithmetic has no bound
(`9^{9^{9^{9}}}`). So text is vetted against an allow-list, then compared in a process of its own under limits
(`workers`). Neither sympy nor math-verify is imported here.
"""

from __future__ import annotations

import atexit
import os
import re
from fractions import Fraction
from functools import lru_cache

from harness.grading.compare.quantities import is_unit
from harness.grading.compare.workers import Limits, Pool

MAX_LATEX_CHARS = 300
MAX_DEPTH = 8
EXACT = 12  # decimals; math-verify's default of 6 takes 1.414214 for the root of 2
_COMMANDS = frozenset(
    re.findall(
        r"\w+",
        """frac sqrt pi cdot times div pm mp infty cup cap in notin le leq ge geq lt gt ne neq sin cos tan cot
        sec csc arcsin arccos arctan log ln exp binom dbinom tbinom begin end alpha beta gamma delta epsilon
        theta lambda mu phi varphi omega rho sigma tau overline lfloor rfloor lceil rceil mathbb emptyset
        varnothing setminus pmod bmod mod quad""",
    )
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:[pbvBV]?matrix|cases|array)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)|\\([{}\\|])")
_PLAIN_DECIMAL = re.compile(r"-?\d{0,40}\.\d{1,38}")
_PLAIN = re.compile(r"[0-9A-Za-z\s+\-*/^_=<>()\[\]{}|,.:;!&']*")
_TEXT_SEPARATOR = re.compile(
    r",?\s*\\(?:text|mbox|mathrm)\s*\{\s*,?\s*(?:or|and)\s*\}|,?\s*(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])"
)
_TRAILING_TEXT = re.compile(r"\s*\\(?:text|mbox|mathrm)\s*\{[^{}]*\}(?:\^\{?[23]\}?)?\s*$")


def to_latex(text: str) -> str:
    """Plain-text maths as LaTeX (`sqrt(2)*pi` -> `\\sqrt{2}\\cdot \\pi`), `or` as a comma, a unit dropped."""
    out = _TEXT_SEPARATOR.sub(",", text)
    if (trailing := _TRAILING_TEXT.search(out)) and is_unit(trailing[0]):
        out = out[: trailing.start()]
    out = re.sub(r"(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", out)
    out = re.sub(r"(?<![A-Za-z\\])[Ii]nfinity(?![A-Za-z])", r"\\infty", out)
    out = re.sub(r"(?<![A-Za-z\\])(pi|infty|sqrt|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1", out)
    return out.replace("**", "^").replace("*", "\\cdot ").strip()


def as_fraction(text: str) -> str:
    r"""A plain decimal as `\frac{n}{d}`, which math-verify does not round; other text as it is."""
    if not _PLAIN_DECIMAL.fullmatch(text):
        return text
    value = Fraction(text)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def screen(latex: str) -> str | None:
    """Why `latex` may not reach the parser, or None if it may."""
    if len(latex) > MAX_LATEX_CHARS:
        return f"more than {MAX_LATEX_CHARS} characters"
    if unknown := {m[1] for m in _COMMAND.finditer(latex) if m[1] and m[1] not in _COMMANDS}:
        return f"command not on the allow-list: {min(unknown)[:30]!r}"
    bare = _COMMAND.sub(" ", _ENVIRONMENT.sub(" ", latex))
    if not _PLAIN.fullmatch(bare):
        return "character not on the allow-list"
    if "__" in bare or re.search(r"\.\s*[A-Za-z_]", bare) or re.search(r"\d{41}", bare):
        return "attribute, double underscore or a number of more than 40 digits"
    if re.search(r"[A-Za-z]{4}", bare) or not re.search(r"\w", latex):
        return "prose, not mathematics"
    depth = 0
    for char in bare:
        depth += (char in "{([") - (char in "})]")
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
    return None


@lru_cache(maxsize=8192)
def compare(gold: str, pred: str, *, gold_is_number: bool = False, decimals: int = EXACT) -> tuple[bool, str]:
    """Whether math-verify finds the normalised answers equal (gold first), and the reason.

    Where one has a decimal point, both are rounded to `decimals` places.
    A refused text, an error and a killed worker count as unequal. Raises RuntimeError if no worker starts.
    """
    if decimals == EXACT:  # a decimal is exactly what it says: 1.41421356237 is not the root of 2
        gold, pred = as_fraction(gold), as_fraction(pred)
    latex_gold, latex_pred = to_latex(gold), to_latex(pred)
    if refused := screen(latex_gold) or screen(latex_pred):
        return False, f"different text ({refused})"
    if differing := _mistakable(latex_gold, latex_pred, gold_is_number):
        return False, f"different text ({differing})"
    reply = _pool.ask({"gold": latex_gold, "pred": latex_pred, "decimals": decimals})
    if reply["error"]:
        return False, f"math-verify: {reply['error']}"
    return reply["equal"], "equal by math-verify" if reply["equal"] else "different by math-verify"


def _mistakable(gold: str, pred: str, gold_is_number: bool) -> str | None:
    """What tells two texts apart that math-verify may take for equal, or None."""
    letters, gold_letters = (re.sub(r"\\[A-Za-z]+", "", latex) for latex in (pred, gold))
    cased = [{c for c in said if c.islower() and c.upper() in said} for said in (letters, gold_letters)]
    if cased[0] != cased[1]:  # math-verify takes X for x
        return "capital and small letters"
    if gold_is_number and "=" not in pred and re.search(r"[A-Za-df-hj-z]", letters):
        return "variables in the answer, a number in the reference"
    if (r"\infty" in pred) != (r"\infty" in gold) and "," not in gold + pred:
        return "infinity in one"
    return None


def worker_stats() -> dict[str, int]:
    """Counts in this process: asked, started, error, and workers lost to wall, cpu, memory or death."""
    return dict(_pool.stats)


_pool = Pool(Limits())
atexit.register(lambda: _pool.close())
os.register_at_fork(after_in_child=lambda: _pool.abandon())
