"""Tables beside the primary one: other measures, where a gain comes from, every split, every template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_text, points
from analysis.study.bases import named_groups
from analysis.study.configs import problems_of
from analysis.study.contrasts import (
    METRICS,
    ArmResult,
    Primary,
    contrast,
    evaluated_tasks,
    final_rows,
    mean_of,
    paired,
    what_varies,
)
from analysis.study.evaluations import RERANKERS
from analysis.study.load import Study
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

MEASURES = {  # mean of an arm -> heading
    "share_direct": "direct answers",
    "accuracy_stepped": "accuracy given steps",
    "step_validity": "valid steps",
    "right_wrong_step": "right, a step wrong",
    "wrong_right_steps": "wrong, steps right",
    "truncated": "truncated",
    "length": "length (tokens)",
    "se_sampling": "SE sampling",
    "se_problems": "SE problems",
}
BEST_MEASURES = {  # the same for each reward model that chose among samples
    "best_{kind}": "best of {k}, {kind} model",
    "best_{kind}_se_sampling": "best of {k}, {kind} model: SE sampling",
    "best_{kind}_se_problems": "best of {k}, {kind} model: SE problems",
}
MEASURES_NOTE = (
    "Means over seeds, in points (length in tokens). Direct answers hold no step. Valid steps: share of "
    "checkable steps that are right. Right, a step wrong: of right answers with steps (a lower bound: "
    "errors of set-up are not seen). Wrong, steps right: of wrong answers with steps. SE sampling: these "
    "problems, new samples; SE problems: new problems as well; both for one run's avg@k, or for the best "
    "of k by a reward model of the base."
)


def measures_table(results: Sequence[ArmResult]) -> Table:
    """Direct answers, step validity, length, truncation, standard errors, best of k by reward models."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    names = {key: heading.format(k=k) for key, heading in MEASURES.items()}
    for kind in RERANKERS:
        if any(r.means[f"best_{kind}"] is not None for r in results):
            names |= {
                key.format(kind=kind): heading.format(k=k, kind=kind)
                for key, heading in BEST_MEASURES.items()
            }
    cells = [
        [r.label, *(_plain(r.means[n]) if n == "length" else points(r.means[n]) for n in names)]
        for r in results
    ]
    raw = to_frame([{"arm": r.label, **{n: r.means[n] for n in names}} for r in results])
    title = "How answers are reached"
    return Table("measures", title, ["arm", *names.values()], cells, raw, MEASURES_NOTE)


def decomposition_table(results: Sequence[ArmResult]) -> Table:
    """Gain over the base = choosing to derive + accuracy given the kind of answer."""
    shown = [r for r in results if r.choice is not None]
    cells = [
        [
            r.label,
            interval_text(_total(r), signed=True),
            interval_text(r.choice, signed=True),
            interval_text(r.skill, signed=True),
            points(r.means["share_direct"]),
        ]
        for r in shown
    ]
    note = (
        "avg@k, points. Δ = Σ(p′−p)·a + Σp′·(a′−a) over direct and stepped answers: the first sum is the "
        "change in how often a derivation is written, the second the change in accuracy given the kind, of "
        "answers without a step too."
    )
    raw = to_frame(
        [
            {"arm": r.label, **interval_columns("choice", r.choice), **interval_columns("skill", r.skill)}
            for r in shown
        ]
    )
    columns = [
        "arm",
        "gain over base",
        "from choosing to derive",
        "from accuracy given the kind",
        "direct answers now",
    ]
    return Table("decomposition", "Where the gain comes from", columns, cells, raw, note)


def _total(result: ArmResult) -> Interval | None:
    if result.choice is None or result.skill is None:
        return None
    if (
        result.gain is not None
        and abs(result.gain.estimate - result.choice.estimate - result.skill.estimate) < 1e-9
    ):
        return result.gain
    return paired_t([result.choice.estimate + result.skill.estimate])


def splits_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """The primary metric, and its gain over the base, on every split; greedy accuracy in a row below it.

    The CSV has the difference to the arm's control on each split, too.
    """
    tasks = evaluated_tasks(study)
    names = {t: (s if list(tasks.values()).count(s) == 1 else t) for t, s in tasks.items()}
    metrics = list(dict.fromkeys((primary.metric, "greedy")))
    cells, raw = [], []
    for r in results:
        lines: dict[str, list[str]] = {metric: [] for metric in metrics}
        for task, name in names.items():
            line: dict[str, Any] = {"arm": r.label, "task": task, "split": name}
            for metric in metrics:
                rows = final_rows(study, r.label, task)
                base = final_rows(study, r.label, task, base=True)
                mean = mean_of(rows, metric)
                gain = paired(rows, base, metric, level=primary.level, varies=what_varies(study))
                cell = f"{points(mean)} ({interval_text(gain, signed=True)})" if gain else points(mean)
                lines[metric].append(cell)
                first = metric == primary.metric
                line |= {"value" if first else metric: mean}
                line |= {"best_constant": mean_of(rows, "best_constant")} if first else {}
                line |= interval_columns("gain" if first else f"{metric}_gain", gain)
                if first and r.control:
                    pair = [(rows, final_rows(study, r.control, task))]
                    line |= interval_columns("difference", contrast(study, pair, metric, level=primary.level))
            raw.append(line)
        cells += [[f"{r.label}{'' if m == primary.metric else f', {m}'}", *lines[m]] for m in metrics]
    note = (
        f"{METRICS[primary.metric]}, points; in parentheses the gain over the base with its interval. Best "
        "constant answer: mean over seeds, a row for each set of problems. The CSV has control differences."
    )
    cells += _constant_cells(study, [r.label for r in results], names)
    return Table(
        "splits", "Does it generalise: every split", ["arm", *names.values()], cells, to_frame(raw), note
    )


def templates_table(study: Study) -> Table:
    """Each base under every template it was measured under: what a prompt alone is worth."""
    frame = study.evaluations
    columns = ["base", "template"]
    note = (
        "The base under each prompt template, avg@k in points and greedy in parentheses, mean over sampling "
        "seeds. A gain that another template gives the base is no gain of training."
    )
    if not frame.empty:
        bases = dict(zip(study.runs["run_id"], study.runs["base_id"], strict=True))
        frame = frame.assign(base=frame["run_id"].map(bases))
        frame = frame[(frame["step"] == 0) & frame["template"].notna()]
        frame = frame[frame.groupby("base")["template"].transform("nunique") > 1]
    if frame.empty:
        return Table("templates", "The base under every template", columns, [], to_frame([]), note)
    names = list(dict.fromkeys(frame["split"]))
    cells, raw = [], []
    for (base, template), rows in frame.groupby(["base", "template"]):
        line = [str(base), str(template)]
        for name in names:
            of = rows[rows["split"] == name]
            avg, greedy = of["avg"].mean(), of["greedy"].astype(float).mean()
            line.append(
                (f"{points(avg)} ({points(greedy)})" if greedy == greedy else points(avg)) if len(of) else "—"
            )
            raw.append({"base": base, "template": template, "split": name, "avg": avg, "greedy": greedy})
        cells.append(line)
    return Table("templates", "The base under every template", [*columns, *names], cells, to_frame(raw), note)


def _constant_cells(study: Study, arms: Sequence[str], tasks: Mapping[str, str]) -> list[list[str]]:
    """A row for each set of arms that are evaluated on the same problems: their best constant answers."""
    rows = {arm: {task: final_rows(study, arm, task) for task in tasks} for arm in arms}
    problems = {
        arm: {(task, s): problems_of(row) for task, found in own.items() for s, row in found.items()}
        for arm, own in rows.items()
    }
    cells = []
    for name, group in named_groups(study, {arm: own for arm, own in problems.items() if own}):
        shown = [
            points(mean_of({s: row for arm in group for s, row in rows[arm][task].items()}, "best_constant"))
            for task in tasks
        ]
        cells.append([f"best constant answer{', ' + name if name else ''}", *shown])
    return cells


def _plain(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"
