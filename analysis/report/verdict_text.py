"""A contrast's verdict in sentences: the word first, then the size with its interval, then why."""

from __future__ import annotations

from analysis.stats.contrast import Judged
from analysis.stats.families import Largest
from analysis.stats.intervals import Interval
from analysis.stats.ratio import UNBOUNDED
from analysis.stats.text import interval_text, points


def verdict_text(judged: Judged, arm: str, control: str) -> str:
    """`kl and sft: undecided, 1.3 points lower [0.4, 2.1]. ...` without the measure's name."""
    evidence, verdict = judged.evidence, judged.verdict
    said = size_text(evidence.difference)
    if verdict.word == "cannot tell":
        return f"this study cannot tell {arm} from {control}: {verdict.reason}. Measured: {said}."
    if verdict.word in ("better", "worse"):
        return f"{arm} is {verdict.word} than {control}: {said}."
    if verdict.word == "equivalent":
        assert evidence.margin is not None
        within = evidence.margin.text(evidence.control_gain, control)
        return f"{arm} is equivalent to {control}, within {within}: {said}."
    why = f", {verdict.reason}" if verdict.reason else ""
    text = f"undecided between {arm} and {control}: {said}{why}."
    return text + not_equivalent(judged, control)


def size_text(difference: Interval) -> str:
    """`1.3 points lower [0.4, 2.1]`; signed, where the interval holds 0: `0.1 points higher [−0.3, +0.5]`."""
    size = f"{points(abs(difference.estimate))} points {'higher' if difference.estimate >= 0 else 'lower'}"
    low, high = difference.low, difference.high
    if low is None or high is None:
        return f"{size}, without an interval ({difference.reason})"
    if low <= 0 <= high:
        return f"{size} [{points(low, signed=True)}, {points(high, signed=True)}]"
    ends = sorted((abs(low), abs(high)))
    return f"{size} [{points(ends[0])}, {points(ends[1])}]"


def not_equivalent(judged: Judged, control: str) -> str:
    """` Not equivalent: the margin is 1.4 points, a quarter of sft's gain.` where a margin is declared."""
    evidence = judged.evidence
    if evidence.margin is None or evidence.within:
        return ""
    return f" Not equivalent: the margin is {evidence.margin.text(evidence.control_gain, control)}."


def word_text(judged: Judged) -> str:
    """The verdict in a few words: `better`, `this study cannot tell: three seeds`."""
    word, reason = judged.verdict.word, judged.verdict.reason
    if word == "cannot tell":
        return f"this study cannot tell: {reason}"
    return f"{word} ({reason})" if reason else word


def beside_text(judged: Judged, measure: str) -> str:
    """`in greedy: better, +3.5 [+1.2, +5.8]`: the same verdict in another measure."""
    return f"in {measure}: {word_text(judged)}, {interval_text(judged.evidence.difference, signed=True)}"


def ratio_text(judged: Judged, arm: str, control: str) -> str:
    """`kl keeps 78 % [67, 91] of sft's gain.`; empty where there is no ratio to take."""
    ratio, gain = judged.ratio, judged.evidence.control_gain
    if ratio is None or gain is None or gain.estimate <= 0:
        return ""
    shown = f"{arm} has {100 * ratio.estimate:.0f} %".replace("-", "−")
    if ratio.reason == UNBOUNDED:
        return f"{shown} of {control}'s gain, a ratio without a finite interval: {control}'s gain may be 0."
    if ratio.low is None or ratio.high is None:
        return f"{shown} of {control}'s gain."
    ends = f"[{100 * ratio.low:.0f}, {100 * ratio.high:.0f}]".replace("-", "−")
    return f"{shown} {ends} of {control}'s gain."


def gain_text(label: str, gain: Interval, before: float, after: float, measure: str) -> str:
    """`sft gains 5.7 [3.8, 7.5] points of avg@16 over its base (13.9 to 19.6).`"""
    ends = f"({points(before)} to {points(after)})"
    if gain.low is None or gain.high is None:
        shown = points(gain.estimate, signed=True)
        return f"{label}: {shown} points of {measure} over its base {ends}, without an interval."
    if gain.low > 0:
        return f"{label} gains {interval_text(gain)} points of {measure} over its base {ends}."
    if gain.high < 0:
        lost = f"{points(-gain.estimate)} [{points(-gain.high)}, {points(-gain.low)}]"
        return f"{label} loses {lost} points of {measure} against its base {ends}."
    return f"{label}: no gain shown in {measure}, {interval_text(gain, signed=True)} points {ends}."


def family_text(of: str, largest: Largest, new_families: Interval | None) -> str:
    """Say which family makes most of an effect, what the others show, and what follows for new families."""
    text = (
        f"`{largest.family}`, one family of {largest.num_families}, makes {100 * largest.share:.0f} % of {of}"
        if largest.num_families > 1
        else f"All problems are of one family, `{largest.family}`"
    )
    if largest.rest is not None:
        text += f"; on the others it is {interval_text(largest.rest, signed=True)} points"
    text += ". "
    if new_families is None or new_families.low is None or new_families.high is None:
        return text + "Nothing follows for new families of problems."
    shown = interval_text(new_families, signed=True)
    if new_families.low <= 0 <= new_families.high:
        return text + f"For new families of problems it is not shown: the median family has {shown}."
    return text + f"For new families of problems: the median family has {shown}."
