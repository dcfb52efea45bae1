"""The learned reward models of a study's bases: can they tell right from wrong, and choose among k samples?

    python -m harness ablation=reward_models
    python -m tests.benchmarks.reward_models outputs/reward_models --out outputs/reference/reward_models

A reward model is judged on training problems that it was not trained on (AUC, ECE, Brier score), its choice
on the test problems, on samples of the base, with the AUC of the scores that it chose by. `*_auc_within`
counts pairs of one problem alone. `distinct_at_k` is what choosing by a score without information gives:
equal outputs have equal scores, so each distinct output is as likely to be the highest, however often it was
sampled. Intervals: Student's t over seeds, each with a base of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis.stats.intervals import paired_t
from analysis.stats.metrics import pair_auc
from harness.records.lines import read_samples
from harness.records.records import EvalRecord, RunRecord, eval_paths, read_eval, read_run, run_folders

KINDS = ("outcome", "process")
CHOICES = ("avg_at_k", "maj_at_k", "best_of_k_outcome", "best_of_k_process")
AGAINST = [
    (f"best_of_k_{kind}", other) for kind in KINDS for other in ("maj_at_k", "avg_at_k", "distinct_at_k")
]


def measured(run: RunRecord, outputs: Path) -> dict[str, float]:
    """What one seed's base and its reward models show. Raises ValueError when that is missing."""
    base = outputs / "bases" / str(run.base_id)
    tests = [(path, read_eval(path)) for path in eval_paths(base)]
    found_tests = [(p, e) for p, e in tests if e.split == "test" and "best_of_k_outcome" in e.metrics]
    if len(found_tests) != 1:
        raise ValueError(f"{base}: {len(found_tests)} reranked evaluations on the test split; expected one")
    ((path, test),) = found_tests
    found = {name: test.metrics[name] for name in CHOICES}
    found["distinct_at_k"] = distinct_at_k(read_samples(path.with_suffix(".samples.jsonl.gz")))
    found |= {f"{name}_se_problems": test.metrics[f"{name}_se_problems"] for name in CHOICES}
    found |= {f"{a}_minus_{b}": found[a] - found[b] for a, b in AGAINST}
    found |= told_apart(test)
    for made in sorted((base / "verifiers").glob("*/made.json")):
        found |= json.loads(made.read_text())["metrics"]
    return found


def distinct_at_k(samples: Iterable[dict[str, Any]]) -> float:
    """Share right among a problem's distinct completions, a mean over problems; greedy ones do not count."""
    problems: dict[str, dict[str, bool]] = {}
    for row in samples:
        if row["sample_idx"] is not None:
            problems.setdefault(row["problem_id"], {})[row["completion"]] = row["correct"]
    return fmean(fmean(outputs.values()) for outputs in problems.values())


def told_apart(test: EvalRecord) -> dict[str, float]:
    """AUC of each reward model's scores on the test problems, of all pairs and of those of one problem."""
    found: dict[str, float | None] = {}
    for kind in KINDS:
        scores = test.rerank_scores[kind]
        everything = [[x for row in rows for x in row] for rows in (test.correct, scores)]
        found[f"test_{kind}_auc"] = pair_auc(everything[:1], everything[1:])
        found[f"test_{kind}_auc_within"] = pair_auc(test.correct, scores)
    return {name: value for name, value in found.items() if value is not None}


def table(seeds: list[dict[str, float]]) -> list[dict[str, Any]]:
    """A row a measure: its mean over seeds with the interval, and each seed's value."""
    rows = []
    for name in (n for n in seeds[0] if all(n in seed for seed in seeds)):
        values = [seed[name] for seed in seeds]
        interval = paired_t(values, varies="seeds, each with a base of its own; problems fixed")
        rows.append(
            {
                "measure": name,
                "mean": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                **{f"seed_{i}": value for i, value in enumerate(values)},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = [read_run(folder) for folder in run_folders(options.study)]
    runs = sorted((r for r in runs if r.status == "finished"), key=lambda r: int(r.config["seed"]))
    if not runs:
        raise SystemExit(f"error: {options.study}: no finished run; launch ablation=reward_models first")
    rows = table([measured(run, options.study.parent) for run in runs])
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "reward_models.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    made = {
        "command": "python -m harness ablation=reward_models",
        "run_ids": [run.run_id for run in runs],
        "base_ids": [run.base_id for run in runs],
        "commits": sorted({str(run.code.get("commit")) for run in runs}),
        "packages": runs[0].packages,
        "hardware": runs[0].hardware,
    }
    (options.out / "provenance.json").write_text(json.dumps(made, indent=1) + "\n")
    for row in rows:
        low, high = row["low"], row["high"]
        bracket = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
        print(f"{row['measure']:<42} {row['mean']:.3f}{bracket}")


if __name__ == "__main__":
    main()
