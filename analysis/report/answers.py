"""The answer of a study in sentences, and what its intervals mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.report.alike import alike_lines, is_alike
from analysis.report.verdict_text import beside_text, family_text, gain_text, ratio_text, verdict_text
from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text
from analysis.study.contrasts import METRICS, ArmResult, Primary, declared, final_rows, what_varies
from analysis.study.draws import limits_text, method_text
from analysis.study.families import family_gain
from analysis.study.gains import gain_answers
from analysis.study.headlines import headlines, missing_contrast
from analysis.study.load import Study
from analysis.study.looks import looks_text
from analysis.study.transfer import HELDOUT, transfers
from analysis.study.verdicts import ContrastVerdict, contrast_verdicts
from analysis.tables.transfer import transfer_answers


def answers(
    study: Study, primary: Primary, results: list[ArmResult], by_rule: Sequence[str] = ()
) -> list[str]:
    """The first screen: did training help, which arm is better, on which problems, and how sure are we.

    `by_rule` is what the study's own rule says (`report_lines`). Ends with the arms to doubt.
    """
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    helped = _helped(study, primary, k)
    lines = helped[:1]
    measure = f"{measure_name(primary.metric, k)} on {study.task_text(primary.task)}"
    if is_alike(study.record.factors):
        lines += alike_lines(study.folder, results, measure)
    elif primary.criterion == "gain":
        lines += gain_answers(study, primary, measure)
    else:
        lines += _differences(study, primary, results, k)
    if study.record.primary.get("split") == HELDOUT:
        lines += transfer_answers(transfers(study, primary))
    lines += [*helped[1:], *by_rule, *_sure(study, primary, results)]
    if dead := [f"{r.label} ({'; '.join(r.flags)})" for r in results if r.flags]:
        lines.append("Flagged arms, whose numbers may mean nothing: " + ", ".join(dead) + ".")
    return lines


def measure_name(metric: str, k: int) -> str:
    """`avg@16`, `greedy`."""
    return METRICS[metric].replace("@k", f"@{k}")


def control_arms(study: Study, primary: Primary) -> tuple[str, list[str]]:
    """Name and arms of the control level of the primary factor; without one, of the first arm."""
    level = study.record.control.get(primary.factor or "")
    labels = [a.label for a in study.record.arms if a.levels.get(primary.factor or "") == level]
    if level is not None and labels:
        return level, labels
    first = study.record.arms[0].label
    return first, [first]


def _helped(study: Study, primary: Primary, k: int) -> list[str]:
    """Did training help? The control's gain at the training temperature and greedily; on which problems.

    Where the control is a null, which nothing is learnt from, that of the declared contrast or, by the
    criterion `gain`, of the first level of the family.
    """
    name, labels = control_arms(study, primary)
    contrast = study.record.primary.get("contrast")
    if primary.criterion == "gain":
        contrast = next(iter(declared(study).get("family") or []), None)
    if name in (declared(study).get("nulls") or []) and contrast is not None:
        arms = [a.label for a in study.record.arms if a.levels.get(primary.factor or "") == contrast]
        name, labels = (contrast, arms) if arms else (name, labels)
    row = next(iter(final_rows(study, labels[0], primary.task).values()), None)
    found = family_gain(study, primary, labels, name)
    if row is None or found is None:
        return []
    at = f" at temperature {row['protocol'][1]:g}" if primary.metric != "greedy" else ""
    said = [gain_text(name, found.gain, found.before, found.after, measure_name(primary.metric, k) + at)]
    other = "greedy" if primary.metric != "greedy" else "avg"
    beside = family_gain(study, replace(primary, metric=other), labels, name)
    if beside is not None:
        said.append(gain_text(name, beside.gain, beside.before, beside.after, measure_name(other, k)))
        rises = [g.low is not None and g.low > 0 for g in (found.gain, beside.gain)]
        if primary.metric == "avg" and rises == [True, False]:
            said.append("A gain in samples alone is what a narrower distribution would give (sharpening).")
    lines = [f"Did training help? {' '.join(said)}"]
    if found.largest is not None and found.gain.low is not None and found.gain.low > 0:
        lines.append(
            f"On which problems? {family_text(f'the gain of {name}', found.largest, found.new_families)}"
        )
    return lines


def _differences(study: Study, primary: Primary, results: list[ArmResult], k: int) -> list[str]:
    """Each level of the primary factor against its control, and the null controls.

    Where a contrast is declared it alone has a sentence, and the others are listed with their intervals.
    """
    lines = _contrasts(study, primary, results, k)
    if not lines:
        best = [f"{r.label}: {interval_text(r.estimate)}" for r in results if r.estimate is not None]
        measure = f"{measure_name(primary.metric, k)} on {study.task_text(primary.task)}"
        lines = [f"{measure}, in points: " + "; ".join(best) + "."] if best else ["No finished run yet."]
    nulls = set(declared(study).get("nulls") or [])
    return lines + [
        f"{r.label} is a null control, which ought not to gain over its base: "
        f"{interval_text(r.gain, signed=True)} points."
        for r in results
        if r.gain is not None and r.levels.get(primary.factor or "") in nulls
    ]


def _contrasts(study: Study, primary: Primary, results: list[ArmResult], k: int) -> list[str]:
    levels = contrast_verdicts(study, primary, results)
    waiting = [
        f"{h.factor}={h.level} against {h.factor}={h.control}: no seed has finished in both."
        for h in headlines(study, primary)
        if h.difference is None
    ]
    if study.record.primary.get("contrast") is None:
        return [_answer(study, primary, c, k) for c in levels] + waiting
    if missing := missing_contrast(study, primary):
        lines = [f"No answer yet: the declared contrast {missing} of {primary.factor} was not run."]
        others = levels
    else:
        main = [c for c in levels if c.level == study.record.primary["contrast"]]
        lines = [_answer(study, primary, c, k) for c in main] or waiting[:1]
        others = [c for c in levels if c not in main]
    if others:
        listed = "; ".join(
            f"{c.level} {interval_text(c.primary.evidence.difference, signed=True)}, {c.primary.verdict.word}"
            for c in others
        )
        lines.append(f"The other levels against {others[0].control}, points: {listed}.")
    return lines


def _answer(study: Study, primary: Primary, contrast: ContrastVerdict, k: int) -> str:
    """Answer which is better for one contrast: verdict, ratio of gains, greedy and pass@k, families."""
    names = [f"{contrast.factor}={name}" for name in (contrast.level, contrast.control)]
    where = f", averaged over {contrast.cells} settings of the other factors" if contrast.cells > 1 else ""
    measure = f"{measure_name(primary.metric, k)} on {study.task_text(primary.task)}{where}"
    verdict = verdict_text(contrast.primary, *names)
    parts = [f"Which is better? In {measure}, {verdict}", ratio_text(contrast.primary, *names)]
    beside = [beside_text(j, measure_name(m, k)) for m, j in contrast.measures.items() if m != primary.metric]
    if beside:
        text = "; ".join(beside)
        parts.append(f"{text[0].upper()}{text[1:]}.")
    largest = contrast.primary.largest
    if contrast.primary.evidence.found and largest is not None:
        parts.append(family_text("the difference", largest, contrast.primary.new_families))
    return " ".join(part for part in parts if part)


def _sure(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    """Say how sure the answers are: seeds, problems, what varies in the intervals."""
    counts = sorted({len(r.seeds) for r in results if r.seeds})
    if not counts:
        return []
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    problems = max(int(r.means["n_problems"] or 0) for r in results)
    return [
        f"How sure? {seeds} seed{'s' * (counts[-1] > 1)}, {problems} problems; brackets are "
        f"{100 * primary.level:g} % intervals over {what_varies(study)}. "
        f"Arms are compared {method_text(study)}. {limits_text(study)}",
        *filter(None, [looks_text(study.folder, study.record.declared)]),
    ]


def interval_notes(study: Study, primary: Primary, results: list[ArmResult]) -> list[str]:
    how = "paired by seed" if primary.criterion == "gain" else method_text(study)
    lines = [
        f"Primary intervals: Student's t over seeds, on {_compared(primary)} {how}. What "
        f"varies: {what_varies(study)}. {limits_text(study)}",
        *filter(None, [looks_text(study.folder, study.record.declared)]),
    ]
    crossed = [f"{r.label}: {_full(r.crossed)}" for r in results if r.crossed is not None]
    if crossed:
        lines.append(
            "For more problems of these families as well (avg@k difference to the control; seeds × problems "
            "crossed, each mean square with its own degrees of freedom): " + "; ".join(crossed) + ". For new "
            "families see the table of families."
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
    """Caution for arms whose interval for more problems is over 1.5 times as wide as the primary one."""
    pairs = [(r.label, r.crossed.width, r.difference.width) for r in results if r.crossed and r.difference]
    ratios = {label: crossed / primary for label, crossed, primary in pairs if crossed and primary}
    wide = [f"{label} ({ratio:.1f} times)" for label, ratio in ratios.items() if ratio > 1.5]
    if not wide:
        return []
    return [
        f"Much wider than the primary interval: {', '.join(wide)}. There the difference is not the same on "
        "every problem, and a claim about more problems of these families needs more of them; more seeds "
        "would hardly narrow it."
    ]


def _full(interval: Interval) -> str:
    text = interval_text(interval, signed=True)
    return text if interval.reason is None else f"{text} ({interval.reason})"
