"""A small study on disk, with effects known by construction."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.records import records
from harness.records.lines import MetricsWriter
from harness.records.records import Arm, BaseRecord, EvalRecord, RunRecord, StudyRecord

SPLITS = ("train", "perturbed", "test", "heldout")
COMMIT = {"commit": "c0ffee0123456789", "dirty": False}


def evaluation(rate: float, *, split: str, seed: int, step: int, run_id: str | None, base: str) -> EvalRecord:
    """20 problems, 4 samples: a share `rate` right, of which the stepped half more often."""
    rng = random.Random(f"{rate} {split} {seed} {run_id}")
    rows = [[int(rng.random() < rate) for _ in range(4)] for _ in range(20)]
    ids = [f"{split}-{i}" for i in range(20)]
    zeros, ones = [[0] * 4 for _ in rows], [[1] * 4 for _ in rows]
    return EvalRecord(
        key=f"key{seed}",
        task=f"aime_gen_{split}",
        task_version=1.0,
        split=split,
        checkpoint=f"step_{step:06d}-key{seed}" if step else f"base-key{seed}",
        step=step,
        run_id=run_id,
        base_id=base,
        n_problems=20,
        k=4,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=80,
        eval_sampling_seed=seed,
        problem_ids=ids,
        pair_ids=[f"train-{i}" if split == "perturbed" else None for i in range(20)],
        topics=[None] * 20,
        levels=[None] * 20,
        correct=rows,
        answers=[["right" if c else ("wrong" if j else None) for j, c in enumerate(r)] for r in rows],
        stepped=[[c if j else 1 for j, c in enumerate(r)] for r in rows],
        num_steps=ones,
        num_wrong_steps=zeros,
        lengths=[[12] * 4 for _ in rows],
        truncated=zeros,
        greedy_correct=[r[0] for r in rows],
        best_constant=0.1,
        best_constant_answer="7",
        metrics={},
        seconds=1.0,
        lm_eval_version="0.4.13",
    )


def write_evaluation(folder: Path, record: EvalRecord) -> None:
    records.write_record(folder / "eval" / record.checkpoint / f"{record.task}.json", record)


def run_record(run_id: str, objective: str, model: str, seed: int, **changes: Any) -> RunRecord:
    config = {
        "study": "toy",
        "seed": seed,
        "base_seed": 0,
        "objective": {"name": objective, "kl": {"coef": 0.0}},
        "model": {"name": model},
        "trainer": {"lr": 3e-4},
        "output_dir": "outputs",
    }
    fields: dict[str, Any] = {
        "run_id": run_id,
        "study": "toy",
        "status": "finished",
        "config": config,
        "overrides": [f"objective={objective}", f"model={model}", f"seed={seed}"],
        "seeds": {"rollout": seed},
        "base_id": f"base-{model}",
        "data_hash": "d1",
        "code": COMMIT,
        "packages": {},
        "hardware": {"device": "cpu", "threads": 1},
        "started": "2026-01-01T00:00:00+00:00",
        "steps_done": 6,
        "tokens": {"sampled": 10_000, "trained": 8_000},
        "flops": {"train": 1e12, "sample": 5e11},
        "seconds": {"train": 3.0, "sample": 2.0},
    }
    return RunRecord(**{**fields, **changes})


def write_run(study: Path, record: RunRecord, rate: float) -> None:
    folder, seed = study / record.run_id, record.config["seed"]
    records.write_record(folder / "run.json", record)
    writer = MetricsWriter(folder / "metrics.jsonl")
    for step in range(1, 7):
        writer.append(
            {
                "step": step,
                "reward": rate * step / 6,
                "accuracy": rate * step / 6,
                "entropy": 1 / step,
                "completion_length": 12.0,
                "truncated": 0.0,
                "zero_variance_groups": 0.2,
                "grad_norm": 1.0,
                "kept_loss": 0.5 + step / 100,
            }
        )
    for split in SPLITS:
        write_evaluation(
            folder,
            evaluation(rate, split=split, seed=seed, step=6, run_id=record.run_id, base=record.base_id),
        )


@pytest.fixture
def make_study(tmp_path: Path, study_templates: Callable[..., Path]) -> Callable[..., Path]:
    """A copy of the study: each design is written once a session, since writing records is slow."""

    def make(*, seeds: int = 3, models: tuple[str, ...] = ("xs", "s")) -> Path:
        return shutil.copytree(study_templates(seeds, models), tmp_path / "outputs") / "toy"

    return make


@pytest.fixture(scope="session")
def study_templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    @cache
    def make(seeds: int, models: tuple[str, ...]) -> Path:
        root = tmp_path_factory.mktemp("template") / "outputs"
        study = root / "toy"
        arms = []
        for model in models:
            base = root / "bases" / f"base-{model}"
            records.write_record(
                base / "base.json",
                BaseRecord(
                    base_id=base.name,
                    identity={},
                    num_parameters=2 * 10**5,
                    tokens=1,
                    flops=1.0,
                    seconds=1.0,
                    num_non_embedding_parameters=10**5,
                    final_loss=0.5,
                    code=COMMIT,
                ),
            )
            for seed in range(seeds):
                for split in SPLITS:
                    write_evaluation(
                        base, evaluation(0.3, split=split, seed=seed, step=0, run_id=None, base=base.name)
                    )
            for objective, rate in (("sft_rejection", 0.4), ("grpo", 0.7)):
                runs = {}
                for seed in range(seeds):
                    runs[str(seed)] = name = f"{objective}-{model}-s{seed}-abcd"
                    write_run(study, run_record(name, objective, model, seed), rate)
                arms.append(
                    Arm(
                        label=f"objective={objective} model={model}",
                        levels={"objective": objective, "model": model},
                        overrides=[f"objective={objective}", f"model={model}"],
                        runs=runs,
                    )
                )
        records.write_record(
            study / "study.json",
            StudyRecord(
                study="toy",
                question="Is GRPO better than rejection-sampled SFT?",
                factors={"objective": ["sft_rejection", "grpo"], "model": list(models)},
                seeds=list(range(seeds)),
                control={"objective": "sft_rejection", "model": models[0]},
                arms=arms,
                shared_base=True,
                command="python -m harness -m objective=sft_rejection,grpo model=xs,s seed=0,1,2",
            ),
        )
        return root

    return make
