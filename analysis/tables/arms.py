"""The report's tables: cells for readers, a raw frame for CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import compact, interval_text, p_text, points
from analysis.study.contrasts import (
    METRICS,
    ArmResult,
    Primary,
    declared,
    evaluated_tasks,
    final_rows,
    has,
    paired,
    what_varies,
)
from analysis.study.design import config_differences
from analysis.study.evaluations import RERANKERS
from analysis.study.load import Study
from analysis.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


def arm_table(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Table:
    """Per arm: estimate, difference to its control, gain over the base, n, best constant, compute, flags."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    metric, level = METRICS[primary.metric].replace("@k", f"@{k}"), f"{100 * primary.level:g} %"
    columns = [
        "arm",
        metric,
        "difference to control",
        "p (Holm)",
        "gain over base",
        "seeds",
        "flags",
        "base",
        "best constant",
        "sampled tokens",
        "FLOPs",
        "GPU-seconds",
        "seconds",
    ]
    cells = [
        [
            r.label,
            interval_text(r.estimate),
            interval_text(r.difference, signed=True) if r.control else _place(study, primary, r),
            p_text(r.p_holm),
            interval_text(r.gain, signed=True),
            str(len(r.seeds)),
            "; ".join(r.flags) or "none",
            points(r.base),
            points(r.means["best_constant"]),
            compact(r.means["sampled_tokens"]),
            compact(r.means["flops"]),
            compact(r.means["gpu_seconds"] or None),
            compact(r.means["seconds"]),
        ]
        for r in results
    ]
    few = any(r.estimate is not None and r.estimate.low is None for r in results)
    note = (
        f"{metric} on {study.task_text(primary.task)} {study.checkpoint_text}, in points. "
        f"Brackets: {level} intervals, Student's t over seeds, on differences paired by seed where there is "
        f"a control or a base; what varies: {what_varies(study)}. Holm adjusts over {_family(study)}. "
        "Tokens, FLOPs and seconds are means per run, without pretraining."
        + (" No bracket: the reason stands under “What the intervals mean”." if few else "")
    )
    return Table("arms", "Arms", columns, cells, _arm_frame(results), note, terminal_columns=7)


def _place(study: Study, primary: Primary, result: ArmResult) -> str:
    """An arm without a control is one, or its control was not run."""
    control = study.record.control.get(primary.factor or "")
    return "control" if control in (None, result.levels.get(primary.factor or "")) else "—"


def _family(study: Study) -> str:
    family = declared(study).get("family")
    return f"the declared family: {', '.join(family)}" if family else "all differences to controls"


def _arm_frame(results: Sequence[ArmResult]) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for r in results:
        others = {factor: level for factor, level in r.levels.items() if factor != "arm"}
        row: dict[str, Any] = {"arm": r.label, **others, "seeds": len(r.seeds), "control": r.control}
        named = {
            "estimate": r.estimate,
            "difference": r.difference,
            "difference_crossed": r.crossed,
            "gain_over_base": r.gain,
            "gain_from_choice": r.choice,
            "gain_from_skill": r.skill,
        }
        for name, interval in named.items():
            row |= interval_columns(name, interval)
        rows.append(
            row
            | {"p_holm": r.p_holm, "base": r.base}
            | r.means
            | {"flags": "; ".join(r.flags), "run_ids": " ".join(r.run_ids)}
        )
    return pd.DataFrame(rows)


def interval_columns(name: str, interval: Interval | None) -> dict[str, Any]:
    parts = ("low", "high", "se", "df", "p_value")
    if interval is None:
        return {name: None, **{f"{name}_{part}": None for part in parts}}
    return {name: interval.estimate, **{f"{name}_{part}": getattr(interval, part) for part in parts}}


def measures_table(results: Sequence[ArmResult]) -> Table:
    """avg, greedy, majority, pass, direct answers, step validity, length, both standard errors."""
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    names = {
        "avg": f"avg@{k}",
        "greedy": "greedy",
        "maj": f"maj@{k}",
        "pass": f"pass@{k}",
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
    for kind in RERANKERS:
        if any(r.means[f"best_{kind}"] is not None for r in results):
            name = f"best of {k}, {kind} model"
            names |= {
                f"best_{kind}": name,
                f"best_{kind}_se_sampling": f"{name}: SE sampling",
                f"best_{kind}_se_problems": f"{name}: SE problems",
            }
    cells = [
        [r.label, *(_plain(r.means[n]) if n == "length" else points(r.means[n]) for n in names)]
        for r in results
    ]
    note = (
        "Means over seeds, in points (length in tokens). Direct answers hold no step. Valid steps: share of "
        "checkable steps that are right. Right, a step wrong: of right answers with steps (a lower bound: "
        "errors of set-up are not seen). Wrong, steps right: of wrong answers with steps. SE sampling: these "
        "problems, new samples; SE problems: new problems as well; both for one run's avg@k, or for the best "
        "of k by a reward model of the base."
    )
    raw = _frame([{"arm": r.label, **{n: r.means[n] for n in names}} for r in results])
    return Table(
        "measures",
        "Greedy, majority, pass and how answers are reached",
        ["arm", *names.values()],
        cells,
        raw,
        note,
    )


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
    raw = _frame(
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
    """The primary metric, and its gain over the base, on every split."""
    tasks = evaluated_tasks(study)
    names = {t: (s if list(tasks.values()).count(s) == 1 else t) for t, s in tasks.items()}
    cells, raw = [], []
    for r in results:
        line = [r.label]
        for task, name in names.items():
            rows = final_rows(study, r.label, task)
            base = final_rows(study, r.label, task, base=True)
            values = [float(x[primary.metric]) for x in rows.values() if has(x, primary.metric)]
            mean = sum(values) / len(values) if values else None
            gain = paired(rows, base, primary.metric, level=primary.level, varies=what_varies(study))
            line.append(f"{points(mean)} ({interval_text(gain, signed=True)})" if gain else points(mean))
            best = [float(x["best_constant"]) for x in rows.values()]
            raw.append(
                {
                    "arm": r.label,
                    "task": task,
                    "split": name,
                    "value": mean,
                    "best_constant": best[0] if best else None,
                    **interval_columns("gain", gain),
                }
            )
        cells.append(line)
    constants = _best_constants(study, names)
    note = f"{METRICS[primary.metric]}, points; in parentheses the gain over the base with its interval."
    if constants:
        cells.append(["best constant answer", *(points(constants.get(t)) for t in names)])
    return Table(
        "splits", "Does it generalise: every split", ["arm", *names.values()], cells, _frame(raw), note
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
        return Table("templates", "The base under every template", columns, [], _frame([]), note)
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
    return Table("templates", "The base under every template", [*columns, *names], cells, _frame(raw), note)


def _best_constants(study: Study, names: Mapping[str, str]) -> dict[str, float]:
    frame = study.evaluations
    return {t: float(frame[frame["task"] == t]["best_constant"].iloc[0]) for t in names}


def runs_table(study: Study) -> Table:
    """Every run with its status: how to reproduce each row."""
    cells = [
        [
            str(r["run_id"]),
            str(r["arm"] or "—"),
            str(r["seed"]),
            str(r["status"]),
            str(r["reason"] or ""),
            _known(r.get("commit"))[:10],
            _command(r.get("overrides")),
        ]
        for r in study.runs.to_dict("records")
    ]
    raw = study.runs.drop(columns=["overrides", "flags"], errors="ignore")
    columns = ["run", "arm", "seed", "status", "reason", "commit", "command"]
    note = "A run's folder holds its resolved config.yaml, record, metrics and evaluations."
    return Table("runs", "Runs, and how to reproduce each", columns, cells, raw, note)


def config_table(study: Study) -> Table:
    """Keys in which each arm's config differs from that of the arm it is compared with."""
    found = config_differences(study)
    cells = [
        [d.arm, d.other, key, _setting(old), _setting(new), "NO" if key in d.undeclared else "yes"]
        for d in found
        for key, (old, new) in d.values.items()
    ]
    columns = ["arm", "compared with", "key", "its value", "this arm's value", "declared"]
    raw = _frame([dict(zip(columns, row, strict=True)) for row in cells])
    note = "Seeds, paths, tracking and evaluation settings are left out. NO: outside the declared factors."
    return Table("config_diff", "What differs between the arms' configs", columns, cells, raw, note)


def _setting(value: Any) -> str:
    return "null" if value is None else str(value)


def _command(overrides: Any) -> str:
    if not isinstance(overrides, tuple):
        return "—"
    import shlex

    return "python -m harness " + " ".join(shlex.quote(o) for o in overrides)


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))


def _known(value: Any) -> str:
    return value if isinstance(value, str) else "—"


def _plain(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"
