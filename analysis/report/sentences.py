"""One sentence per committed study, from its finding.json and CSV files alone.

A contrast in the primary measure is followed by its verdict, by the same verdict in greedy accuracy, and by
how many arms gain in samples and greedily. A study of three seeds or fewer is a smoke test.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis.report.alike import is_alike, rejections_text
from analysis.report.committed import SMOKE_SEEDS, Committed
from analysis.report.committed_finding import written_verdict
from analysis.report.committed_verdicts import contrast_of, gain_families
from analysis.report.verdict_text import beside_text, family_text, verdict_text
from analysis.stats.contrast import Judged
from analysis.stats.families import HALF
from analysis.stats.intervals import paired_t
from analysis.stats.text import interval_bounds, points
from analysis.study.contrasts import CHAINS
from analysis.tables.trends import DIFFERENCE, GAIN

CONTRAST = re.compile(r"(?:^|largest: )([^:;]+?) − ([^:;]+?): (\S+)(?: \[(\S+), (\S+)\])? points (.+?) on ")
COUNTED = re.compile(r"^(\d+) of (\d+) differences found")
AXES = {"model (parameters)": "parameters", "steps (checkpoints)": "steps"}


def sentence(study: Committed) -> str:
    """The study's answer for a newcomer; accuracies in percent, differences in points."""
    smoke = f"Smoke test, {study.seeds} seeds: " if study.seeds <= SMOKE_SEEDS else ""
    carried = ""
    if at_floor(study):
        text = _floor(study)
    elif study.plan.get("primary", {}).get("criterion") == "gain":
        text = _gains(study) + _gaining(study)
    elif (trends := _trends(study)) is not None:
        text = trends + _gaining(study)
    else:
        text, carried = _contrast(study) + _below_constant(study) + _gaining(study), _carried(study)
    if is_alike(study.plan.get("factors", {})):
        return " ".join(filter(None, [f"{smoke}{text}.", rejections_text(study.folder)]))
    return f"{smoke}{text}.{carried or _families(study)}"


def _carried(study: Committed) -> str:
    """A sentence on the family that carries a contrast; "" where none is found, or none carries it."""
    match = CONTRAST.search(study.answer)
    judged = _judged(study, match[1]) if match else None
    if judged is None or judged.largest is None:
        return ""
    if not judged.evidence.found or judged.evidence.one_family is None:
        return ""
    return f" {family_text('the difference', judged.largest, judged.new_families)}"


def _families(study: Committed) -> str:
    """On which problems the control gains in avg@k, where that is judged and one family makes most of it."""
    if _metric(study) != "avg":
        return ""
    control = study.plan.get("control", {}).get(study.factor)
    arms = [a["label"] for a in study.plan.get("arms", ()) if a["levels"].get(study.factor) == control]
    found = gain_families(study, arms) if arms else None
    if found is None:
        return ""
    gain, largest, new = found
    if gain.low is None or gain.low <= 0 or largest is None or largest.share <= HALF:
        return ""
    name = f"`{control}`" if study.factor in ("arm", "objective") else f"`{study.factor}={control}`"
    return f" {family_text(f'the gain of {name}', largest, new)}"


def _metric(study: Committed) -> str:
    """The primary measure, a column of evaluations: `avg`, `pass`, `chain`."""
    return str(study.plan.get("primary", {}).get("metric", "avg")).split("@")[0]


def _judged(study: Committed, level: str) -> Judged | None:
    """The verdict on a level of the primary factor in the primary measure; None where files do not say."""
    return contrast_of(study, level, _metric(study)) or written_verdict(study, level, _metric(study))


def at_floor(study: Committed) -> bool:
    """True if no arm beats the best constant answer; none has a valid chain, where those are counted."""
    arms = study.arms
    if _metric(study) in CHAINS:
        return not arms.empty and bool((arms["estimate"] <= 0).all())
    return not arms.empty and bool((arms["estimate"] <= arms["best_constant"]).all())


def _floor(study: Committed) -> str:
    arms = study.arms
    if _metric(study) in CHAINS:
        return "at the floor: no arm has a valid chain"
    return (
        f"at the floor: no arm ({_range(arms['estimate'])} %) is above the best constant answer "
        f"({points(arms['best_constant'].max())} %)"
    )


def _gains(study: Committed) -> str:
    arms = study.arms.set_index("arm")
    declared = study.plan["declared"]
    family = arms.loc[study.arms_at(declared["family"])]
    passed = family[family["gain_over_base_low"] > 0]
    text = f"{len(passed)} of {len(family)} arms gain {_range(passed['gain_over_base'])} points"
    for name in study.arms_at(declared["nulls"]):
        row = arms.loc[name]
        text += f", the null control `{name}` {_interval(row, 'gain_over_base')}"
    return text


def _trends(study: Committed) -> str | None:
    """Slope over the first ordered factor: of the gain where bases differ as well, else of accuracy."""
    trends = study.table("trends")
    if trends.empty or not trends["log10"].all():
        return None
    gain = trends["of"] == GAIN
    shown = trends[gain] if gain.any() else trends[trends["of"] != DIFFERENCE]
    factor = shown["factor"].iloc[0]
    shown = shown[shown["factor"] == factor]
    slopes = [
        _interval(row, "slope", "low", "high") + ("" if row["at"] == "—" else f" (`{row['at']}`)")
        for _, row in shown.iterrows()
    ]
    what = "to the gain over the base" if gain.any() else "of accuracy"
    axis, over = AXES.get(factor, f"`{factor}`"), _range_of(shown.iloc[0])
    return f"a factor of ten in {axis} adds {' and '.join(slopes)} points {what}{over}"


def _range_of(trend: Any) -> str:
    """`, over 12 to 96`: the ends of an ordered factor."""
    levels = str(trend.get("levels", "")).split()
    return f", over {float(levels[0]):,.0f} to {float(levels[-1]):,.0f}" if levels else ""


def _contrast(study: Committed) -> str:
    match = CONTRAST.search(study.answer)
    if match is None:
        return study.answer.split(";")[0]
    level, control, value, low, high, measure = match.groups()
    factor = study.factor
    bare = level
    level, control = (f"`{name}`" if factor == "arm" else f"`{factor}={name}`" for name in (level, control))
    counted = COUNTED.match(study.answer)
    if counted:
        return (
            f"{counted[1]} of {counted[2]} differences are found; the largest, {level} minus {control}, is "
            f"{value} [{low}, {high}] points"
        )
    if low is None:
        return f"{level} minus {control} is {value} points, without an interval"
    judged = _judged(study, bare)
    if judged is not None:
        text = f"in {measure}, {verdict_text(judged, level, control)}"
        greedy = contrast_of(study, bare, "greedy") if _metric(study) != "greedy" else None
        return f"{text} I{beside_text(greedy, 'greedy')[1:]}" if greedy else text.removesuffix(".")
    if low[0] == high[0] and low[0] in "+−":
        side = "above" if low[0] == "+" else "below"
        ends = sorted((low[1:], high[1:]), key=float)
        return f"{level} is {value[1:]} [{ends[0]}, {ends[1]}] points {side} {control} in {measure}"
    return f"no difference found in {measure}: {level} minus {control} is {value} [{low}, {high}] points"


def _below_constant(study: Committed) -> str:
    if study.arms.empty:
        return ""
    chains = _metric(study) in CHAINS
    floor = 0.0 if chains else study.arms["best_constant"]
    low = study.arms[study.arms["estimate"] <= floor]
    if low.empty:
        return ""
    names = ", ".join(f"`{name}`" for name in low["arm"])
    if chains:
        return f"; {names} {'has' if len(low) == 1 else 'have'} no valid chain"
    constant = points(low["best_constant"].max())
    return f"; {names} is not shown to be above the best constant answer ({constant} %)"


def _gaining(study: Committed) -> str:
    """How many arms gain over their base in avg@k, and how many when decoded greedily, by intervals."""
    sampled, rises = (_rises(study, name) for name in ("avg", "greedy"))
    if not sampled or not rises:
        return ""
    greedy, risen = (sum(map(_above_0, found)) for found in (rises, sampled))
    text = f"; over their bases {risen} of {len(sampled)} arms gain when sampled"
    text += f" and {greedy or 'none'} when decoded greedily"
    if lost := sum(_above_0(-rise) for rise in rises):
        return f"{text}, where {lost} {'loses' if lost == 1 else 'lose'}"
    return f"{text}, as sharpening does" if risen and not greedy else text


def _rises(study: Committed, metric: str) -> list[pd.Series[Any]]:
    """Each arm's gains over the base by seed; arms without the measure are left out."""
    ends = [(before, after) for before, after in study.accuracy.values() if metric in after]
    rises = [(after[metric] - before[metric]).dropna() for before, after in ends]
    return [rise for rise in rises if len(rise)]


def _above_0(differences: pd.Series[Any]) -> bool:
    interval = paired_t(differences)
    return interval.estimate > 0 if interval.low is None else interval.low > 0


def _interval(row: Any, name: str, low: str | None = None, high: str | None = None) -> str:
    ends = row[low or f"{name}_low"], row[high or f"{name}_high"]
    return interval_bounds(row[name], *ends, signed=True)


def _range(values: pd.Series[Any]) -> str:
    """`18.3 to 19.6`, or one value where both ends read alike."""
    ends = [points(values.min()), points(values.max())]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
