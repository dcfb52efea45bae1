"""The answer of a study in sentences, and what its intervals mean."""

from __future__ import annotations

from analysis.stats.inference import tost_p
from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text, p_equals, points
from analysis.study.contrasts import METRICS, ArmResult, Primary, declared, what_varies
from analysis.study.draws import limits_text, method_text
from analysis.study.gains import gain_answers
from analysis.study.headlines import Headline, missing_contrast, p_text_of, primary_headlines
from analysis.study.load import Study


def answers(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    """The answer by the study's criterion, in sentences with intervals, and which arms to doubt."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    measure = f"{METRICS[primary.metric].replace('@k', f'@{k}')} on {study.task_text(primary.task)}"
    if primary.criterion == "gain":
        lines = gain_answers(study, primary, measure)
    else:
        lines = _differences(study, primary, results, measure)
    if dead := [f"{r.label} ({'; '.join(r.flags)})" for r in results if r.flags]:
        lines.append("Flagged arms, whose numbers may mean nothing: " + ", ".join(dead) + ".")
    return lines


def _differences(study: Study, primary: Primary, results: list[ArmResult], measure: str) -> list[str]:
    """Each level of the primary factor against its control, and the null controls.

    Where a contrast is declared it alone has a sentence, and the others are listed with their intervals.
    """
    lines = _contrasts(study, primary, results, measure)
    if not lines:
        best = [f"{r.label}: {interval_text(r.estimate)}" for r in results if r.estimate is not None]
        lines = [f"{measure}, in points: " + "; ".join(best) + "."] if best else ["No finished run yet."]
    nulls = set(declared(study).get("nulls") or [])
    return lines + [
        f"{r.label} is a null control, whose gain over the base ought to be 0: "
        f"{interval_text(r.gain, signed=True)} points."
        for r in results
        if r.gain is not None and r.levels.get(primary.factor or "") in nulls
    ]


def _contrasts(study: Study, primary: Primary, results: list[ArmResult], measure: str) -> list[str]:
    margin = declared(study).get("margin")
    levels = primary_headlines(study, primary, results)
    if study.record.primary.get("contrast") is None:
        return [_answer(h, measure, margin) for h in levels]
    if missing := missing_contrast(study, primary):
        lines = [f"No answer yet: the declared contrast {missing} of {primary.factor} was not run."]
        others = levels
    else:
        lines, others = [_answer(h, measure, margin) for h in levels[:1]], levels[1:]
    if known := [h for h in others if h.difference is not None]:
        listed = "; ".join(f"{h.level} {interval_text(h.difference, signed=True)}" for h in known)
        lines.append(f"The other levels against {known[0].control}, points: {listed}.")
    return lines


def _answer(headline: Headline, measure: str, margin: float | None) -> str:
    who = f"{headline.factor}={headline.level} against {headline.factor}={headline.control}"
    where = f", averaged over {headline.cells} settings of the other factors" if headline.cells > 1 else ""
    d = headline.difference
    if d is None:
        return f"{who}: no seed has finished in both."
    size = f"{points(abs(d.estimate))} points {'higher' if d.estimate >= 0 else 'lower'} {measure}{where}"
    if d.low is None or d.high is None:
        return f"{who}: {size}, without an interval ({d.reason}), so nothing can be concluded."
    bracket = f"[{points(d.low, signed=True)}, {points(d.high, signed=True)}]"
    tested = f"{100 * d.level:g} % interval {bracket}, {p_text_of(headline)}, {d.n} seeds, {d.method}"
    p = tost_p(d, margin=float(margin)) if margin else None
    same = ""
    if margin and p is not None:
        verdict = "Equivalent" if p <= 0.05 else "Equivalence is not shown"
        same = f" {verdict} within the declared ±{points(float(margin))} points (TOST, {p_equals(p)})."
    if d.low <= 0 <= d.high:
        return f"{who}: no difference found; {size} ({tested}). The interval includes 0.{same}"
    return f"{who}: {size} ({tested}).{same}"


def interval_notes(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    how = "paired by seed" if primary.criterion == "gain" else method_text(study)
    lines = [
        f"Primary intervals: Student's t over seeds, on {_compared(primary)} {how}. What "
        f"varies: {what_varies(study)}. {limits_text(study)}",
    ]
    crossed = [f"{r.label}: {_full(r.crossed)}" for r in results if r.crossed is not None]
    if crossed:
        lines.append(
            "For new problems as well (avg@k difference to the control; seeds × problems crossed, "
            "each mean square with its own degrees of freedom): " + "; ".join(crossed) + "."
        )
        lines += _much_wider(results)
    reasons = {r.estimate.reason for r in results if r.estimate and r.estimate.reason}
    reasons |= {r.difference.reason for r in results if r.difference and r.difference.reason}
    lines += [f"Some arms have no interval: {reason}." for reason in sorted(filter(None, reasons))]
    declared = "as the study declares" if primary.declared else "by default, as the study declares none"
    lines.append(
        f"Primary measure: {METRICS[primary.metric]} on {study.task_text(primary.task)}, {declared}."
    )
    return lines


def _compared(primary: Primary) -> str:
    return "gains over the base" if primary.criterion == "gain" else "differences"


def _much_wider(results: list[ArmResult]) -> list[str]:
    """Caution for arms whose interval for new problems is over 1.5 times as wide as the primary one."""
    pairs = [(r.label, r.crossed.width, r.difference.width) for r in results if r.crossed and r.difference]
    ratios = {label: crossed / primary for label, crossed, primary in pairs if crossed and primary}
    wide = [f"{label} ({ratio:.1f} times)" for label, ratio in ratios.items() if ratio > 1.5]
    if not wide:
        return []
    return [
        f"Much wider than the primary interval: {', '.join(wide)}. There the difference is not the same on "
        "every problem, and a claim about new ones needs more problems; more seeds would hardly narrow it."
    ]


def _full(interval: Interval) -> str:
    text = interval_text(interval, signed=True)
    return text if interval.reason is None else f"{text} ({interval.reason})"
