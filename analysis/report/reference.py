"""A finished study small enough to commit: tables, a Markdown report, few figures, a line a run, provenance.

report.md figures/*.png      what was found; no completions
<table>.csv                  every table of the report but that of runs, full precision
evaluations.csv.gz           each checkpoint's numbers on each task; `main` is False for what
                             `eval.temperatures` sampled besides, which stands once for a shared base
problems.csv                 right samples of each problem of the primary task, last checkpoint and base
problem_list.csv             those problems in the same order, with topic, family and level
curves.csv                   training metrics by arm and step, mean over seeds
runs.jsonl.gz config.json    a line a run: its record, and the settings that not all runs share; those they do
study.json provenance.json   the ablation as declared and piloted; commit, hardware, versions, bases, commands
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.training import CURVES
from analysis.report.build import markdown
from analysis.report.committed import EVALUATIONS, FILE, RUNS
from analysis.report.content import Report
from analysis.report.findings import finding
from analysis.report.provenance import provenance
from analysis.study.contrasts import arm_results, final_rows, primary_of
from analysis.study.load import Study
from analysis.tables.table import Table, csv_text
from harness.records import records
from harness.records.declarations import FILE as DECLARATION
from harness.records.looks import FILE as LOOKS

MAX_BYTES = 1_000_000  # of one study: commits are for ever
MAX_BYTES_OF_ALL = 12_000_000  # of outputs/reference
FIGURES = (
    "anatomy",
    "discovery",
    "differences",
    "stages",
    "families",
    "learning_rates",
    "checkpoints",
    "ordered",
    "learning_curves",
    "decomposition",
    "derivations",
    "kept",
    "compute",
)
KEPT = (
    "overrides",
    "seeds",
    "base_id",
    "data_hash",
    "started",
    "finished",
    "steps_done",
    "num_resumes",
    "tokens",
    "flops",
    "seconds",
    "gpu_seconds",
    "base_seconds",
    "peak_memory_bytes",
    "rates",
    "flags",
    "eval_keys",
)
MEASURED = ("seconds", "gpu_seconds", "base_seconds", "rates")  # no run repeats them: four digits will do
NUMBERS = (
    "run_id",
    "arm",
    "seed",
    "step",
    "task",
    "split",
    "k",
    "temperature",
    "top_p",
    "main",
    "n_problems",
    "avg",
    "greedy",
    "maj",
    "pass",
    "se_sampling",
    "se_problems",
    "share_direct",
    "accuracy_stepped",
    "step_validity",
    "right_wrong_step",
    "length",
    "truncated",
    "best_constant",
)


def write_reference(
    report: Report, folder: Path, *, command: str = "", figures: Collection[str] | None = None
) -> list[Path]:
    """Write all of it under `folder`; figures and tables of an earlier version go.

    `command` is what asked for it, `figures` are names (None: those of FIGURES that the study has).

    Raises ValueError, and writes nothing, for a study without a finished run, an unknown figure, or one that
    is too large: the message names the largest files.
    """
    if report.study.finished.empty:
        raise ValueError(
            f"{report.study.folder}: no run is finished; a reference is made of a finished study"
        )
    known = [f.name for f in report.figures]
    if unknown := sorted(set(figures or ()) - set(known)):
        raise ValueError(f"--figures {unknown[0]}: no such figure here; choose of {', '.join(known)}")
    files = reference_files(report, command, FIGURES if figures is None else figures)
    _check_size(files, folder)
    for old in [*folder.glob("figures/*"), *folder.glob("*.csv"), *folder.glob("runs.jsonl")]:
        old.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [folder / name for name in files]


def _check_size(files: Mapping[str, bytes], folder: Path) -> None:
    total = sum(map(len, files.values()))
    largest = sorted(files, key=lambda name: -len(files[name]))[:3]
    named = ", ".join(f"{name} {len(files[name]):,}" for name in largest)
    if total > MAX_BYTES:
        raise ValueError(
            f"{folder}: {total:,} bytes, {MAX_BYTES:,} at most for one study; the largest files: {named}; "
            "name fewer figures with --figures, or report fewer arms"
        )
    others = [p for p in folder.parent.rglob("*") if p.is_file() and folder not in p.parents]
    together = total + sum(p.stat().st_size for p in others)
    if folder.parent.name == "reference" and together > MAX_BYTES_OF_ALL:
        raise ValueError(
            f"{folder.parent}: {together:,} bytes with this study, {MAX_BYTES_OF_ALL:,} at most; its largest "
            f"files: {named}; remove a study there, or name fewer figures with --figures"
        )


def reference_files(
    report: Report, command: str = "", figures: Collection[str] = FIGURES
) -> dict[str, bytes]:
    """Name -> content. Texts name no folder of this machine."""
    study, primary = report.study, primary_of(report.study)
    kept = [f for f in report.figures if f.name in figures]
    read = {name: records.read_run(study.folder / name) for name in study.configs}
    shared, own = _split_configs(study.configs)
    short = replace(report, runs=_chosen_runs(report))
    texts = {"report.md": markdown(short, figures=[f.name for f in kept])}
    texts |= {f"{t.name}.csv": t.csv() for t in report.tables if t.cells and t.name != report.runs.name}
    texts |= {
        "problems.csv": csv_text(_problems(study)),
        "problem_list.csv": csv_text(_problem_list(study)),
        "curves.csv": csv_text(_curves(study), float_format="%.5g"),
        "config.json": _json(shared),
        FILE: _json(finding(study, primary, arm_results(study, primary))),
        "study.json": _json(_without_output_dir(study.record.model_dump())),
        "provenance.json": _json(provenance(study, read, command)),
    }
    for path in (study.folder / name for name in ("calibration.json", DECLARATION, LOOKS)):
        if path.exists():
            texts[path.name] = path.read_text(encoding="utf-8")
    files = {name: _portable(text, study).encode() for name, text in texts.items()}
    rows = study.runs[["run_id", "arm", "seed", "status", "reason"]].to_dict("records")
    lines = "".join(_line(row, read.get(row["run_id"]), own) for row in rows)
    numbers = csv_text(_evaluations(study), float_format="%.6g")
    for name, text in ((RUNS, lines), (EVALUATIONS, numbers)):
        files[name] = gzip.compress(_portable(text, study).encode(), mtime=0)
    return files | {f"figures/{f.name}.png": f.png for f in kept}


def _chosen_runs(report: Report) -> Table:
    """The table of runs without those at rates that their seed did not choose: RUNS has every run."""
    runs, study = report.runs, report.study
    if not study.choices:
        return runs
    cells = [row for row in runs.cells if not row[1].endswith("(not chosen)")]
    others = f" {len(runs.cells) - len(cells)} more, at rates that their seed did not choose: {RUNS}."
    return replace(runs, cells=cells, note=runs.note + others)


def _split_configs(flat: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings that all runs share, and each run's others: together a run's whole config."""
    local = ("output_dir", "tracking.")
    configs = {n: {k: v for k, v in c.items() if not k.startswith(local)} for n, c in flat.items()}
    first = next(iter(configs.values()), {})
    shared = {k: v for k, v in first.items() if all(k in c and c[k] == v for c in configs.values())}
    return shared, {n: {k: v for k, v in c.items() if k not in shared} for n, c in configs.items()}


def _line(
    row: Mapping[Hashable, Any], record: records.RunRecord | None, own: Mapping[str, dict[str, Any]]
) -> str:
    """One line of runs.jsonl; a run that left no readable record has its status and reason."""
    name = row["run_id"]
    data = {k: None if isinstance(v, float) else v for k, v in row.items()}
    if record is not None:
        data |= {key: getattr(record, key) for key in KEPT}
        data |= {key: _rounded(data[key]) for key in MEASURED}
        data |= {"commit": record.code.get("commit"), "config": own[name]}
    return json.dumps(records.clean(_without_output_dir(data)), separators=(",", ":")) + "\n"


def _rounded(value: Any) -> Any:
    """To four significant digits."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _evaluations(study: Study) -> pd.DataFrame:
    """Every evaluation; of runs at a rate that their seed did not choose, the trained one's at the training
    temperature alone: their bases are those of the runs at the rates that were chosen."""
    frames = [frame for frame in (study.evaluations, study.samplings) if not frame.empty]
    order = ["run_id", "step", "task", "main"]
    columns = [*NUMBERS, *(["tried_by", "lr"] if study.choices else [])]
    every = pd.concat(frames).reindex(columns=columns)
    if study.choices:
        every = every[every["arm"].notna() | ((every["step"] > 0) & every["main"].eq(True))]
    same = every.drop(columns=["run_id", "arm", "tried_by", "lr"], errors="ignore")
    base = every["run_id"].map(study.runs.set_index("run_id")["base_id"])
    again = same.assign(base=base).duplicated() & (every["step"] == 0) & every["main"].eq(False)
    return every[~again].sort_values(order, ascending=[True] * 3 + [False])


def _problems(study: Study) -> pd.DataFrame:
    """Right samples of k, problem by problem in the order of `_order`: the grid of the crossed interval."""
    primary, rows = primary_of(study), []
    for arm in study.record.arms:
        for base in (True, False):
            for seed, row in final_rows(study, arm.label, primary.task, base=base).items():
                counts = [round(float(row["per_problem"][i]) * row["k"]) for i in _order(row)]
                right = " ".join(map(str, counts))
                rows.append((arm.label, seed, row["step"], primary.task, row["k"], right))
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "task", "k", "right"])


def _problem_list(study: Study) -> pd.DataFrame:
    """A row a problem of the primary task; a list of its own, as problems.csv has a row a run.

    Seeds with problems of their own have others of the same family there. Empty where arms have problems of
    other families: no one list is that of every row of problems.csv.
    """
    primary = primary_of(study)
    rows = [row for arm in study.record.arms for row in final_rows(study, arm.label, primary.task).values()]
    if len({tuple(sorted(map(str, row["families"]))) for row in rows}) != 1:
        return pd.DataFrame(columns=["problem", "topic", "family", "level"])
    first = rows[0]
    names = {"problem": "problem_ids", "topic": "topics", "family": "families", "level": "levels"}
    return pd.DataFrame({name: [first[column][i] for i in _order(first)] for name, column in names.items()})


def _order(row: pd.Series[Any]) -> list[int]:
    """Places of a row's problems by family, then as in the task: seeds that draw their own agree in it."""
    families = row["families"]
    return sorted(range(len(families)), key=lambda i: str(families[i]))


def _curves(study: Study) -> pd.DataFrame:
    """Mean over the seeds of each arm and step."""
    names = [name for name in ("accuracy", *CURVES) if name in study.steps]
    if study.steps.empty:
        return pd.DataFrame(columns=["arm", "step", "seeds"])
    groups = study.steps.groupby(["arm", "step"], observed=True, sort=False)
    means = groups[names].mean(numeric_only=True)
    means.insert(0, "seeds", groups["seed"].nunique())
    return means.reset_index()


def _without_output_dir(value: Any) -> Any:
    """Lists of overrides less the one that names a folder of this machine."""
    if isinstance(value, dict):
        return {k: _without_output_dir(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_output_dir(v) for v in value if not str(v).startswith("output_dir=")]
    return value


def _portable(text: str, study: Study) -> str:
    """Without this machine's folders: outputs are named from the study's own folder on."""
    text = text.replace(str(study.folder), study.name)
    return re.sub(r"""[ ]'?output_dir=[^\s"'`]+'?""", "", text)


def _json(value: Any) -> str:
    return json.dumps(records.clean(value), indent=1) + "\n"
