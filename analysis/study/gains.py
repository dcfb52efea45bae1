"""The criterion `gain`: does each level of the family gain over its base, and do null controls not?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.stats.intervals import Interval
from analysis.stats.text import interval_text, points
from analysis.study.contrasts import Primary, declared, final_rows, shared_seeds
from analysis.study.draws import t_over_seeds
from analysis.study.load import Study


@dataclass(frozen=True)
class Gain:
    """One level's gain over the base, averaged over the other factors; None without a finished seed."""

    level: str
    interval: Interval | None

    @property
    def passes(self) -> bool:
        return self.interval is not None and self.interval.low is not None and self.interval.low > 0

    @property
    def text(self) -> str:
        shown = "no finished run" if self.interval is None else interval_text(self.interval, signed=True)
        return f"{self.level} {shown}"


def gains(study: Study, primary: Primary, levels: list[str]) -> list[Gain]:
    """Per seed the mean over the other factors' settings of checkpoint minus base, then t over seeds."""
    found = []
    for level in levels:
        labels = [a.label for a in study.record.arms if a.levels.get(primary.factor or "") == level]
        cells = [
            (final_rows(study, label, primary.task), final_rows(study, label, primary.task, base=True))
            for label in labels
        ]
        metric = primary.metric
        seeds = shared_seeds(cells, metric)
        values = [
            float(np.mean([after[s][metric] - base[s][metric] for after, base in cells])) for s in seeds
        ]
        interval = t_over_seeds(study, values, primary.level)
        if interval is not None and study.looks is not None:
            interval = study.looks.adjusted(interval)
        found.append(Gain(level, interval))
    return found


def of_family(study: Study, primary: Primary) -> list[Gain]:
    """The gains that the study claims, by its declared family."""
    return gains(study, primary, list(declared(study).get("family") or []))


def gain_finding(study: Study, primary: Primary, measure: str) -> str:
    """One line: how many levels gain, which do not, the smallest gain that passes, the null controls."""
    found = of_family(study, primary)
    passed = [g for g in found if g.passes]
    text = f"{len(passed)} of {len(found)} gain over the base in {measure}, by an interval above 0"
    if failed := [g.text for g in found if not g.passes]:
        text += f"; not shown: {', '.join(failed)}"
    if passed:
        text += f"; {'smallest: ' if len(passed) > 1 else ''}{min(passed, key=_estimate).text} points"
    return text + "".join(f"; null control {said}" for said in _nulls(study, primary))


def gain_answers(study: Study, primary: Primary, measure: str) -> list[str]:
    """Gains of the declared family and of null controls, in sentences for the report."""
    found = of_family(study, primary)
    num_passed = sum(g.passes for g in found)
    lines = [
        f"{num_passed} of {len(found)} levels of {primary.factor} gain over the base: the "
        f"{100 * primary.level:g} % interval of the gain in {measure} lies above 0 (Student's t over seeds, "
        "each interval by itself).",
        f"Gains in points: {'; '.join(g.text + ('' if g.passes else ' (not shown)') for g in found)}.",
    ]
    return lines + [f"Null control {said}." for said in _nulls(study, primary)]


def _nulls(study: Study, primary: Primary) -> list[str]:
    """`random: −2.4 [−8.1, +3.2], within the +3.0 that its mean may gain`."""
    most = study.record.primary.get("null_gain")
    lines = []
    for gain in gains(study, primary, list(declared(study).get("nulls") or [])):
        if most is None or gain.interval is None:
            lines.append(gain.text)
            continue
        side = "within" if gain.interval.estimate <= most else "above"
        lines.append(f"{gain.text}, {side} the {points(most, signed=True)} that its mean may gain")
    return lines


def _estimate(gain: Gain) -> float:
    assert gain.interval is not None
    return gain.interval.estimate
