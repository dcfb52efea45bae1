"""Tables beside the primary one: what the design could find, equivalence, other views, variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.stats.inference import seeds_needed, smallest_detectable, variance_components
from analysis.stats.intervals import Interval, interquartile_mean, probability_of_improvement
from analysis.stats.margins import Margin
from analysis.stats.text import interval_text, p_equals, points
from analysis.study.configs import problems_of
from analysis.study.contrasts import ArmResult, Primary, declared, final_rows, has, shared_seeds
from analysis.study.draws import is_paired
from analysis.study.load import Study
from analysis.study.verdicts import judged_pairs
from analysis.tables.table import Table, to_frame

if TYPE_CHECKING:
    pass

EFFECT = 0.03  # of accuracy: what power is planned for where a study declares no margin


def finding_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Per difference: is it equivalent to 0, the smallest that could be found, how many seeds are needed."""
    margin = Margin.read(declared(study).get("margin"))
    cells, raw = [], []
    for r in results:
        if r.control is None or r.difference is None or r.difference.se is None:
            continue
        row = _finding_row(study, primary, (r.label, r.control), r.difference)
        p, size = row["tost_p"], row["margin"]
        verdict = "—" if p is None else f"{'yes' if row['equivalent'] else 'not shown'} ({p_equals(p)})"
        within = f", within {points(size)}" if margin and margin.of_gain and size else ""
        cells.append(
            [
                r.label,
                interval_text(r.difference, signed=True),
                points(row["sd_of_differences"]),
                points(row["smallest_detectable"]),
                f"{row['seeds_needed']} for {points(row['effect'])}",
                "no margin declared" if margin is None else f"{verdict}{within}",
            ]
        )
        raw.append({"arm": r.label, **row})
    columns = [
        "arm",
        "difference to control",
        "sd of per-seed differences",
        "smallest difference found",
        "seeds needed",
        f"within {margin.text(None, 'the control')}" if margin else "equivalent",
    ]
    note = (
        "Points. Smallest difference found: with power 0.8 at this many seeds, two-sided 0.05, if the sd is "
        "as observed, which few seeds know badly. Equivalence: two one-sided t tests (TOST) with the "
        "margin that the study declared beforehand, and a control that gains over its base by more; “not "
        "shown” is no proof of a difference."
    )
    return Table("finding", "What this design can and cannot find", columns, cells, to_frame(raw), note)


def _finding_row(
    study: Study, primary: Primary, pair: tuple[str, str], difference: Interval
) -> dict[str, Any]:
    """Power and equivalence of one difference with n seeds an arm; sd = se √n is that of a difference."""
    assert difference.se is not None
    sd, seeds = difference.se * sqrt(difference.n), difference.n
    judged = judged_pairs(study, primary, [pair])
    evidence = judged.evidence if judged else None
    margin = evidence.margin.size(evidence.control_gain) if evidence and evidence.margin else None
    effect = margin if margin is not None and margin > 0 else EFFECT
    try:
        needed = str(seeds_needed(effect=effect, sd=sd))
    except ValueError:
        needed = "over 10,000"
    return {
        "sd_of_differences": sd,
        "smallest_detectable": smallest_detectable(sd=sd, num_seeds=seeds),
        "effect": effect,
        "seeds_needed": needed,
        "margin": margin,
        "seeds": seeds,
        "tost_p": evidence.margin_p if evidence else None,
        "equivalent": evidence.within if evidence and evidence.margin_p is not None else None,
    }


def views_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """The differences again: with new problems (crossed t), and by rliable's two measures, bare."""
    cells: list[list[str]] = []
    raw: list[dict[str, Any]] = []
    for r in results:
        if r.control is None or r.difference is None:
            continue
        arm, control = (_values(study, primary, label) for label in (r.label, r.control))
        middle = interquartile_mean(arm) - interquartile_mean(control)
        better = probability_of_improvement(arm, control)
        shown = [interval_text(view, signed=True) for view in (r.difference, r.crossed)]
        cells.append([r.label, *shown, points(middle, signed=True), points(better)])
        for name, view in ((r.difference.method, r.difference), ("crossed t", r.crossed)):
            if view is not None:
                parts = ("estimate", "low", "high", "df", "method", "varies")
                raw.append({"arm": r.label, "view": name, **{p: getattr(view, p) for p in parts}})
        for name, value in (("IQM difference", middle), ("P(improvement)", better)):
            raw.append({"arm": r.label, "view": name, "estimate": value, "method": "rliable"})
    columns = [
        "arm",
        f"{'paired' if is_paired(study) else 'Welch'} t (primary)",
        "crossed t: more problems of these families",
        "IQM difference",
        "P(improvement), %",
    ]
    note = (
        "Differences to the control, points. The primary interval holds the problems fixed; the crossed t "
        "draws problems of these families anew as well, for avg@k; new families stand in their own table. "
        "IQM: mean of the middle half of the runs. P(improvement): "
        "chance that a run of the arm beats a run of the control. Both as in rliable, without an interval: "
        "bootstrap intervals are too narrow at 3 to 5 seeds."
    )
    return Table("views", "The same differences by other means", columns, cells, to_frame(raw), note)


def variance_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """How much of one run's avg@k each source would move: samples, problems, seeds, bases."""
    cells, raw = [], []
    for r in results:
        rows = final_rows(study, r.label, primary.task)
        if len(rows) < 2 or len({problems_of(row) for row in rows.values()}) != 1:
            continue
        grid = np.array([row["per_problem"] for row in rows.values()])  # [S, P]
        if grid.shape[1] < 2:
            continue
        k = min(int(row["k"]) for row in rows.values())
        scores = grid[None] if study.record.shared_base else grid[:, None]
        found = variance_components(scores, num_samples=k)
        problems = grid.shape[1]
        parts = {
            "samples": _sd(found.sampling, problems),
            "problems": _sd(found.problems, problems),
            "seeds": _sd(found.seeds),
            "bases": _sd(found.bases),
            "rest": _sd(max(0.0, found.interactions - (found.sampling or 0.0)), problems),
        }
        cells.append([r.label, *(points(v) for v in parts.values()), str(len(rows))])
        raw.append({"arm": r.label, **parts, "runs": len(rows), "problems_n": problems, "k": k})
    bases = (
        "the shared base's own effect cannot be told"
        if study.record.shared_base
        else ("a base and its seed change together, so “bases” holds both")
    )
    columns = ["arm", "samples", "problems", "seeds", "bases", "seeds × problems", "runs"]
    note = (
        f"Standard deviation of one run's avg@k on {primary.task} that each source alone would cause, points "
        "(method of moments; negative components count as 0). Problems cancel in paired differences; "
        f"{bases}."
    )
    return Table("variance", "Where the variance comes from", columns, cells, to_frame(raw), note)


def pilot_table(study: Study) -> Table:
    """Learning rates that each arm tried on validation, and the one it got."""
    pilot: list[Mapping[str, Any]] = getattr(study.record, "pilot", None) or []
    rates = sorted({rate for choice in pilot for rate in choice["tried"]}, key=float)
    cells, raw = [], []
    for choice in pilot:
        means = {
            rate: float(np.mean(list(seeds.values()))) for rate, seeds in choice["tried"].items() if seeds
        }
        chosen = f"{choice['chosen']:g}"
        note = " (edge of the grid)" if choice.get("edge") else " (a tie)" if choice.get("tied") else ""
        cells.append(
            [
                str(choice["arm"]),
                chosen + note,
                *(points(means.get(rate)) for rate in rates),
            ]
        )
        raw += [
            {
                "arm": choice["arm"],
                "lr": float(rate),
                "seed": seed,
                "validation_avg": value,
                "chosen": float(rate) == float(choice["chosen"]),
            }
            for rate, seeds in choice["tried"].items()
            for seed, value in seeds.items()
        ]
    note = (
        "avg@k on the validation split, mean over the pilot's seeds, which no other table shows; points. "
        "Every arm had the same grid: objectives differ in gradient scale, which must not pass for an effect."
    )
    title = "Learning rate, chosen on validation"
    return Table("learning_rates", title, ["arm", "chosen", *rates], cells, to_frame(raw), note)


def _values(study: Study, primary: Primary, label: str) -> np.ndarray:
    rows = final_rows(study, label, primary.task).values()
    return np.array([row[primary.metric] for row in rows if has(row, primary.metric)], dtype=float)


def _paired(study: Study, primary: Primary, result: ArmResult) -> np.ndarray:
    """Per-seed differences to the control, over the seeds that both have."""
    if result.control is None:
        return np.array([])
    ours, theirs = (final_rows(study, label, primary.task) for label in (result.label, result.control))
    metric = primary.metric
    both = shared_seeds([(ours, theirs)], metric)
    return np.array([ours[s][metric] - theirs[s][metric] for s in both], dtype=float)


def _sd(variance: float | None, count: int = 1) -> float | None:
    return None if variance is None else sqrt(variance / count)
