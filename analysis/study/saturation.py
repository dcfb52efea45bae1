"""Saturation curves: where an arm ends, how fast it gets there, what its beginning forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin, margin_p
from analysis.stats.sigmoid import MIN_POINTS, Forecast, Sigmoid, fit_sigmoid, forecast
from analysis.study.contrasts import ArmResult, Primary, declared, final_rows, has, what_varies
from analysis.study.load import Study

Curve = tuple[np.ndarray, np.ndarray, float]  # steps, scores, the base's score


@dataclass(frozen=True)
class Saturation:
    """One arm's curves by seed, and what is said of them. Scores in [0, 1], steps of training.

    Intervals are over seeds, and None unless every seed's asymptote is reached. `difference` is to the
    control's asymptotes and `within_p` the p-value of equivalence within the declared margin, a share of the
    control's rise; None without one, or where the control's rise is not told from 0.
    """

    label: str
    curves: Mapping[str, Curve]
    fits: Mapping[str, Sigmoid]
    forecasts: Mapping[str, Forecast]
    asymptote: Interval | None
    difference: Interval | None
    within_p: float | None
    error: Interval | None

    @property
    def num_reached(self) -> int:
        """Seeds whose last checkpoint has made most of the fitted rise."""
        return sum(fit.reached for fit in self.fits.values())


def saturations(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Saturation]:
    """Every arm with enough evaluated checkpoints; none where no arm has."""
    curves = {r.label: _curves(study, primary, r.label) for r in results}
    fits = {
        label: {seed: fit_sigmoid(x, y, start=base) for seed, (x, y, base) in own.items()}
        for label, own in curves.items()
    }
    margin = Margin.read(declared(study).get("margin"))
    return [_saturation(study, primary, r, curves, fits, margin) for r in results if fits[r.label]]


def _saturation(
    study: Study,
    primary: Primary,
    result: ArmResult,
    curves: Mapping[str, Mapping[str, Curve]],
    fits: Mapping[str, Mapping[str, Sigmoid]],
    margin: Margin | None,
) -> Saturation:
    settings: Any = {"level": primary.level, "varies": what_varies(study)}
    own, control = fits[result.label], fits.get(result.control or "", {})
    found = {seed: forecast(x, y, start=base) for seed, (x, y, base) in curves[result.label].items()}
    forecasts = {seed: one for seed, one in found.items() if one is not None}
    difference, within = None, None
    seeds = [seed for seed in own if seed in control]
    if _all_reached(own) and _all_reached(control) and seeds:
        gaps = [own[s].asymptote - control[s].asymptote for s in seeds]
        rises = [control[s].asymptote - control[s].start for s in seeds]
        difference = paired_t(gaps, **settings)
        rise = paired_t(rises, **settings)
        if margin is not None and rise.low is not None and rise.low > 0:
            within = margin_p(gaps, rises, margin)
    return Saturation(
        label=result.label,
        curves=curves[result.label],
        fits=own,
        forecasts=forecasts,
        asymptote=paired_t([f.asymptote for f in own.values()], **settings) if _all_reached(own) else None,
        difference=difference,
        within_p=within,
        error=paired_t([f.error for f in forecasts.values()], **settings) if forecasts else None,
    )


def _all_reached(fits: Mapping[str, Sigmoid]) -> bool:
    """Whether no seed's asymptote is extrapolated: leaving some out would choose among seeds."""
    return bool(fits) and all(fit.reached for fit in fits.values())


def _curves(study: Study, primary: Primary, label: str) -> dict[str, Curve]:
    """Seed -> the evaluated checkpoints of the run that counts, with its base; where there are enough."""
    frame = study.evaluations
    if frame.empty:
        return {}
    bases = final_rows(study, label, primary.task, base=True)
    found: dict[str, Curve] = {}
    for seed, row in final_rows(study, label, primary.task).items():
        own = frame[
            (frame["run_id"] == row["run_id"])
            & (frame["task"] == primary.task)
            & (frame["step"] > 0)
            & frame[primary.metric].notna()
        ].sort_values("step")
        base = bases.get(seed)
        if len(own) < MIN_POINTS or base is None or not has(base, primary.metric):
            continue
        x, y = own["step"].to_numpy(dtype=float), own[primary.metric].to_numpy(dtype=float)
        found[seed] = (x, y, float(base[primary.metric]))
    return found
