"""Score the completions on disk again by the present grader and step check; nothing is sampled.

python -m harness.evaluation.regrade outputs/<study> [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.evaluation.eval_metrics import Scored
from harness.evaluation.eval_tasks import EvalTask, eval_tasks
from harness.evaluation.evaluate import eval_record, sample_rows, scored
from harness.identity import base_folder
from harness.records.lines import read_samples, write_samples
from harness.records.records import EvalRecord, read_eval, read_run, run_folders, samples_of, write_record
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Rollout

SHOWN = 5  # changed verdicts that the summary of an evaluation names


@dataclass(frozen=True)
class Regraded:
    """An evaluation scored again.

    `changed` lists the verdicts that differ: problem id, sample (None: greedy), whether it is right now.
    """

    path: Path
    record: EvalRecord
    rows: list[dict[str, Any]]
    num_samples: int
    changed: list[tuple[str, int | None, bool]]

    def write(self) -> None:
        self.record.samples_sha256 = write_samples(samples_of(self.path), self.rows)
        write_record(self.path, self.record)

    def __str__(self) -> str:
        now_right = sum(right for _, _, right in self.changed)
        named = ", ".join(
            f"{problem}/{'greedy' if i is None else i}" for problem, i, _ in self.changed[:SHOWN]
        )
        more = f" and {len(self.changed) - SHOWN} more" if len(self.changed) > SHOWN else ""
        return (
            f"{self.path.parents[2].name} {self.path.parent.name} {self.path.stem}: {len(self.changed)} of "
            f"{self.num_samples} verdicts change, {now_right} to right: {named}{more}"
        )


def stored(study: Path) -> tuple[dict[Path, EvalTask], list[str]]:
    """Every evaluation of the study's runs and of their bases, and why some runs cannot be read.

    Raises ConfigError for a folder without runs.
    """
    found: dict[Path, EvalTask] = {}
    errors: list[str] = []
    folders = run_folders(study) if study.is_dir() else []
    if not folders:
        raise ConfigError(f"{study}: no runs; name a study's folder, as outputs/<study>")
    for folder in folders:
        try:
            config = RunConfig.model_validate(read_run(folder).config)
            tasks = list(eval_tasks(config))
        except ValidationError as error:
            errors.append(f"{folder}: a config of another version ({error.error_count()} fields)")
            continue
        except ValueError as error:  # no record, or problems that are not there
            errors.append(str(error))
            continue
        base = study.parent / base_folder(config).relative_to(config.output_dir)
        places = [folder, base, *([folder.with_name(config.start)] if config.start else [])]
        for task in tasks:
            name = f"eval/*-{task.key}/{task.task_name()}.json"
            found |= {path: task for place in places for path in sorted(place.glob(name))}
    return found, errors


def regrade(path: Path, task: EvalTask) -> Regraded:
    """Score an evaluation again. Lengths, seconds and reward models' scores stay as recorded.

    Raises ConfigError or RecordError if the completions or the record are missing or damaged, or the data
    gives other problems now.
    """
    old, problems = read_eval(path), task.problems()
    samples = samples_of(path)
    if [p.id for p in problems] != old.problem_ids:
        raise ConfigError(f"{path}: its problems are not those that data={task.data.name} gives now")
    before = _completions(samples)
    if len(before) != old.n_problems * (old.k + (old.greedy_correct is not None)):
        raise ConfigError(
            f"{samples}: {len(before)} completions, not those of {path.name}; evaluate the run again"
        )
    by_problem: dict[tuple[str, bool], list[Rollout]] = {}
    for row in before:
        place = by_problem.setdefault((row["problem_id"], row["sample_idx"] is None), [])
        tokens = tuple(range(row["length"]))  # only their number is on disk
        place.append(
            Rollout(row["problem_id"], len(place), tokens, row["completion"], None, row["finish_reason"])
        )

    def rows(greedy: bool) -> list[Scored]:
        return [scored(task, p, by_problem[p.id, greedy]) for p in problems]

    sampled, greedy = rows(False), rows(True) if old.greedy_correct is not None else None
    same = (
        "checkpoint",
        "step",
        "run_id",
        "base_id",
        "eval_sampling_seed",
        "seconds",
        "length_unit",
        "base_logprobs",
    )
    record = eval_record(
        task, sampled, greedy, rerank=old.rerank_scores, **{name: getattr(old, name) for name in same}
    )
    record.lm_eval_version = old.lm_eval_version
    new = list(sample_rows(sampled, greedy))
    changed = [
        (b["problem_id"], b["sample_idx"], b["correct"])
        for a, b in zip(before, new, strict=True)
        if a["correct"] != b["correct"]
    ]
    return Regraded(path, record, new, len(new), changed)


def _completions(path: Path) -> list[dict[str, Any]]:
    try:
        return list(read_samples(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no completions to score; evaluate the run again") from None
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{path}: damaged completions ({error}); evaluate the run again") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0, or 2 for bad input: an evaluation that cannot be scored is named."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.evaluation.regrade", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("study", type=Path, metavar="STUDY_FOLDER")
    parser.add_argument(
        "--write", action="store_true", help="replace the records; without it they are only compared"
    )
    options = parser.parse_args(argv)
    try:
        found, errors = stored(options.study)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    evaluations = samples = changed = 0
    for path, task in found.items():
        try:
            anew = regrade(path, task)
        except ValueError as error:
            errors.append(str(error))
            continue
        evaluations, samples = evaluations + 1, samples + anew.num_samples
        changed += len(anew.changed)
        if anew.changed:
            print(anew, flush=True)
        if options.write:
            anew.write()
    for line in dict.fromkeys(errors):
        print(f"error: {line}", file=sys.stderr)
    done = "written" if options.write else "nothing written; --write replaces the records"
    print(f"{changed} of {samples} verdicts change in {evaluations} evaluations: {done}")
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
