"""An evaluation's record as a flat row: every metric recomputed from its samples by `analysis.stats`."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.stats.metrics import avg_at_k, best_of_k, kind_shares, pass_curve, vote_accuracy
from analysis.study.by_problem import by_problem
from harness.records import records

if TYPE_CHECKING:
    import pandas as pd

RERANKERS = ("outcome", "process")  # the reward models that eval.rerank can name
# `aime_gen/test/000003-divisors-L2`: a generated problem's id names its family; its topic is a wider area.
FAMILY_ID = re.compile(rf"(?:{'|'.join(records.GENERATED)})\w*/\w+/\d+-(\w+)-L\d+")
BEST = [f"best_{kind}{end}" for kind in RERANKERS for end in ("", "_se_sampling", "_se_problems")]


def with_checkpoints(runs: pd.DataFrame, evaluations: pd.DataFrame, *, rule: str) -> pd.DataFrame:
    """`runs` with the step of the checkpoint that each is judged by: its last one, or under `rule` validation
    the one with the best avg@k on that split, the earliest of equal ones; NaN where that was not evaluated.

    The base is not among them, and no other split is looked at.
    """
    if rule == "last" or "steps_done" not in runs:
        return runs.assign(checkpoint=runs.get("steps_done"))
    chosen: dict[str, int] = {}
    if not evaluations.empty:
        seen = evaluations[(evaluations["split"] == "validation") & (evaluations["step"] > 0)]
        best = seen.sort_values(["avg", "step"], ascending=[False, True]).drop_duplicates("run_id")
        chosen = dict(zip(best["run_id"], best["step"], strict=True))
    return runs.assign(checkpoint=runs["run_id"].map(chosen))


def run_evaluations(
    folder: Path,
    row: dict[str, Any],
    record: records.RunRecord,
    bases: dict[Path, dict[str, Any]],
    damaged: list[str],
) -> list[dict[str, Any]]:
    """The run's own checkpoints, and its base's evaluations under the same protocol and sampling stream.

    Of a task evaluated under several protocols, the one last asked for counts. Rows at `eval.temperatures`
    have `main` false.
    """
    found = []
    keys = set()
    further = set(record.sampling_keys.values())
    for path in records.eval_paths(folder / row["run_id"]):
        evaluation = _evaluation(path, bases, damaged)
        if evaluation is None:
            continue
        if evaluation["key"] == record.eval_keys.get(evaluation["task"], evaluation["key"]):
            keys.add(evaluation["key"])
            found.append(evaluation)
        elif evaluation["key"] in further:
            found.append(evaluation | {"main": False})
    if record.base_id:
        for path in records.eval_paths(folder.parent / records.BASES / record.base_id):
            evaluation = _evaluation(path, bases, damaged)
            if evaluation is None:
                continue
            if evaluation["key"] in keys or evaluation["key"] == record.eval_keys.get(evaluation["task"]):
                found.append(evaluation | {"step": 0})
            elif evaluation["key"] in further:
                found.append(evaluation | {"step": 0, "main": False})
    place = {"run_id": row["run_id"], "arm": row["arm"], "seed": row["seed"], "status": row["status"]}
    return [place | evaluation for evaluation in found]


def _evaluation(path: Path, cache: dict[Path, dict[str, Any]], damaged: list[str]) -> dict[str, Any] | None:
    if path not in cache:
        try:
            samples = records.samples_of(path)
            cache[path] = summarise(records.read_eval(path)) | {"samples": samples}
        except (records.RecordError, ValueError) as error:
            cache[path] = {}
            said = str(error) if str(path) in str(error) else f"{path}: {error}; {records.again(path)}"
            damaged.append(said)
    return cache[path] or None


def summarise(record: records.EvalRecord) -> dict[str, Any]:
    """One evaluation as a flat row: every metric recomputed from the samples by `analysis.stats`.

    Raises ValueError for lists of another length than the problems, or samples than k.
    """
    _check_lengths(record)
    avg = avg_at_k(record.correct)
    shares = kind_shares(record.correct, record.stepped)
    ks = [k for k in (2**i for i in range(20)) if k < record.k] + [record.k]
    curve = pass_curve(record.correct, ks)
    steps = sum(map(sum, record.num_steps))
    greedy = record.greedy_correct
    return {
        "key": record.key,
        "task": record.task,
        "split": record.split,
        "template": record.template,
        "task_version": record.task_version,
        "temperature": record.temperature,
        "top_p": record.top_p,
        "main": True,
        "protocol": (record.k, record.temperature, record.top_p, record.max_new_tokens, record.template),
        "step": record.step,
        "k": record.k,
        "n_problems": record.n_problems,
        "avg": avg.value,
        "se_sampling": avg.errors[0],
        "se_problems": avg.errors[1],
        "greedy": sum(greedy) / len(greedy) if greedy else None,
        "greedy_length": _mean([record.greedy_lengths]) if record.greedy_lengths else None,
        "maj": vote_accuracy(record.correct, record.answers, record.k),
        "pass": curve[record.k],
        "pass_curve": curve,
        "share_direct": shares["direct"][0],
        "shares": shares,
        "share_stepped": shares["stepped"][0],
        "accuracy_stepped": shares["stepped"][1],
        "step_validity": 1 - sum(map(sum, record.num_wrong_steps)) / steps if steps else None,
        **_answers_against_steps(record),
        "chain": None if record.valid_chains is None else _mean(record.valid_chains),
        "chain_pass": None if record.valid_chains is None else _share_with_one(record.valid_chains),
        "length": _mean(record.lengths),
        "truncated": _mean(record.truncated),
        "best_constant": record.best_constant,
        "problem_ids": tuple(record.problem_ids),
        "pair_ids": tuple(record.pair_ids),
        "per_problem": avg.per_problem,
        "by_problem": by_problem(record),
        "greedy_problems": tuple(greedy or ()),
        "topics": tuple(record.topics),
        "families": tuple(map(family_of, record.problem_ids, record.topics)),
        "levels": tuple(None if level is None else str(level) for level in record.levels),
        **_best(record),
    }


def family_of(problem_id: str, topic: str | None) -> str | None:
    """Family of a generated problem, from its id; else the problem's topic, if it has one."""
    match = FAMILY_ID.fullmatch(problem_id)
    return match[1] if match else topic


def _check_lengths(record: records.EvalRecord) -> None:
    """Raise ValueError unless every list is [problem], or [problem][sample]."""
    flat = ("problem_ids", "pair_ids", "topics", "levels", "greedy_correct", "greedy_lengths")
    for name in flat:
        values = getattr(record, name)
        skipped = values is None or (name.startswith("greedy") and not values)
        if not skipped and len(values) != record.n_problems:
            raise ValueError(f"{name}: {len(values)} of {record.n_problems} problems")
    grids = ("correct", "answers", "stepped", "num_steps", "num_wrong_steps", "lengths", "truncated")
    by_name = {name: getattr(record, name) for name in grids} | record.rerank_scores
    for name in ("num_unsourced_steps", "valid_chains", "templates", "base_logprobs"):
        if getattr(record, name) is not None:
            by_name[name] = getattr(record, name)
    for name, rows in by_name.items():
        if len(rows) != record.n_problems or any(len(row) != record.k for row in rows):
            raise ValueError(f"{name}: not {record.k} samples of each of {record.n_problems} problems")


def _best(record: records.EvalRecord) -> dict[str, float | None]:
    """best_of_k of each reward model that chose among the samples, with both standard errors."""
    found: dict[str, float | None] = {}
    for kind in RERANKERS:
        scores = record.rerank_scores.get(kind)
        best = best_of_k(record.correct, scores) if scores else None
        found[f"best_{kind}"] = best.value if best else None
        found[f"best_{kind}_se_sampling"] = best.errors[0] if best else None
        found[f"best_{kind}_se_problems"] = best.errors[1] if best else None
    return found


def _answers_against_steps(record: records.EvalRecord) -> dict[str, float | None]:
    """Shares among derived answers, those with a checked step; None without any.

    `sound`: right answers whose every checked step is right; `right_wrong_step`: the other right answers;
    `wrong_right_steps`: wrong answers without a wrong step.
    """
    lists = map(chain.from_iterable, (record.correct, record.num_steps, record.num_wrong_steps))
    derived = [(right, wrong) for right, steps, wrong in zip(*lists, strict=True) if steps]
    errors = [wrong for right, wrong in derived if right], [wrong for right, wrong in derived if not right]
    sound, blind = (found.count(0) / len(found) if found else None for found in errors)
    rest = None if sound is None else 1 - sound
    return {"sound": sound, "right_wrong_step": rest, "wrong_right_steps": blind}


def _share_with_one(rows: list[list[int]]) -> float | None:
    """Share of rows that hold a 1."""
    return sum(map(any, rows)) / len(rows) if rows else None


def _mean(rows: list[list[int]]) -> float | None:
    count = sum(map(len, rows))
    return sum(map(sum, rows)) / count if count else None
