"""Offline training: on accepted samples of the base or a teacher, drawn once, or on reference solutions.

Samples are those of the prompts of an online run of `trainer.steps`, with the same seeds: equal sampled
tokens. Reference solutions (harness/training/references.py) are one a training problem.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness.objectives.selection import accepted
from harness.records.lines import read_samples, write_samples
from harness.records.progress import Reporter
from harness.records.published import COST, Damaged, reading, remedy, remove, unseal, warn
from harness.records.records import write_json
from harness.seeds import derive
from harness.training.distributed import broadcast_from_rank0, meet, rank
from harness.training.experience import problems_at, sample, score, select
from harness.training.references import reference_rows
from harness.training.rollout_metrics import rollout_metrics
from harness.training.run_state import Run
from harness.training.searching import search_metrics
from harness.training.teacher import Teacher
from harness.training.waiting import rollout_of
from harness.types import Grade, ScoredGroup


class Offline:
    """Holds what is trained on as one-row groups; a step takes a batch of them in a shuffled order."""

    def __init__(self, run: Run, report: Reporter) -> None:
        settings = run.config.objective.offline
        assert settings is not None
        self.run, self.settings = run, settings
        found = reference_rows(run) if settings.sampler == "reference" else self._accepted(report)
        self.rows, self.summary = found
        self.per_epoch = -(-len(self.rows) // settings.batch_size)

    def _accepted(self, report: Reporter) -> tuple[list[ScoredGroup], dict[str, Any]]:
        """(accepted samples, metrics of all), drawn now or, once they are stored, read."""
        run = self.run
        path = accepted_file(run.folder)
        cost = path.with_name(COST)  # what a clock decides stands apart from what is compared
        missing = run.counters.step == 0 and rank() == 0 and _is_missing(run.folder, path)
        if broadcast_from_rank0(missing):  # no update has been made yet: the policy is still the base
            accepted_rows = self._sample(report)
            if rank() == 0:
                write_json(cost, run.counters.costs())
                write_samples(path, accepted_rows)
            meet()
        made, *rows = read_accepted(run.folder)
        if run.counters.step == 0:  # a run killed since the sampling counts its cost once, too
            with reading(cost):
                older = made.get("cost")  # a file written before costs stood apart
                run.counters.load_state_dict(older or json.loads(unseal(cost)))
        return [_group(run, row) for row in rows], made["metrics"]

    @property
    def num_steps(self) -> int:
        return self.settings.epochs * self.per_epoch

    def batch(self, step: int) -> tuple[list[ScoredGroup], dict[str, Any]]:
        """The groups of a step, and the metrics of everything that was sampled."""
        epoch, place = divmod(step, self.per_epoch)
        generator = torch.Generator().manual_seed(derive(self.run.seeds["data_order"], "offline", epoch))
        order = torch.randperm(len(self.rows), generator=generator).tolist()
        size = self.settings.batch_size
        return [self.rows[i] for i in order[place * size : (place + 1) * size]], dict(self.summary)

    def _sample(self, report: Reporter) -> list[dict[str, Any]]:
        run, steps = self.run, self.run.config.trainer.steps
        teacher = Teacher(run) if self.settings.sampler == "teacher" else None
        groups: list[ScoredGroup] = []
        for step in range(steps):
            problems = problems_at(run, step)
            with run.timed("sample"):
                rollouts = teacher.sample(problems, step) if teacher else sample(run, problems, step)
            with run.timed("grade"):
                groups += score(run, problems, rollouts)
            report(f"sampling from the {self.settings.sampler}", step + 1, steps)
        selection = run.config.objective.selection
        kept = accepted(
            select(groups, run.config.objective),
            threshold=run.config.objective.advantage.threshold,
            cap_per_problem=selection.cap_per_problem,
            dedupe=selection.dedupe,
        )
        rows = [
            {"rollout": asdict(r), "grade": asdict(x), "reward": reward}
            for g in kept
            for r, x, reward in zip(g.rollouts, g.grades, g.rewards, strict=True)
        ]
        if not rows:
            raise ValueError(
                f"no sample of the {self.settings.sampler} was accepted, so there is nothing to train on; "
                f"use a better {self.settings.sampler}"
            )
        metrics = {**rollout_metrics(groups), **search_metrics(run), "accepted_samples": len(rows)}
        return [{"owner": run.folder.name, "metrics": metrics}, *rows]


def _is_missing(folder: Path, path: Path) -> bool:
    """Whether the samples must be drawn; what is damaged is removed, with a warning."""
    try:
        read_accepted(folder)
        return False
    except Damaged as error:
        if path.exists():
            warn(f"{error.what}; it is sampled anew")
            remove(path)
        return True


def accepted_file(folder: Path) -> Path:
    return folder / "offline" / "accepted.jsonl.gz"


def read_accepted(folder: Path) -> list[dict[str, Any]]:
    """What was sampled, then the accepted samples. Raises Damaged, also without a file.

    The samples are the base's: they cannot be drawn again once the policy has moved.
    """
    path = accepted_file(folder)
    try:
        with reading(path):
            made, *rows = read_samples(path)
            if made.get("owner", folder.name) != folder.name:
                raise ValueError(f"made for {made['owner']}")
            if not rows or "metrics" not in made:
                raise ValueError("no samples")
    except Damaged as error:  # with what mends samples of a run, which are no evaluation's
        raise Damaged(error.what, remedy(path)) from error
    return [made, *rows]


def _group(run: Run, row: dict[str, Any]) -> ScoredGroup:
    rollout, grade = rollout_of(row["rollout"]), Grade(**row["grade"])
    problem = next(p for p in run.problems if p.id == rollout.problem_id)
    return ScoredGroup(problem, run.prompts[problem.id], (rollout,), (grade,), (row["reward"],))
