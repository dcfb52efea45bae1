"""Loading 1,000 runs × 500 steps into frames (≤ 10 s on two cores), and whether memory grows with samples.

python -m tests.benchmarks.load [--runs 1000] [--steps 500]

Each run has 23 metrics a step, and two tasks of 60 problems × 8 samples with their completions.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.records import records
from harness.records.lines import write_samples
from harness.records.records import Arm, EvalRecord, RunRecord, StudyRecord

METRICS = (
    "reward",
    "accuracy",
    "extracted",
    "zero_variance_groups",
    "completion_length",
    "truncated",
    "entropy",
    "sampled_tokens",
    "loss",
    "ratio",
    "clip_frac",
    "clip_low_frac",
    "clip_high_frac",
    "kl_old",
    "sampler_gap",
    "grad_norm",
    "lr",
    "updates",
    "skipped_updates",
    "kept_loss",
    "kept_kl_forward",
    "kept_kl_reverse",
)
PROBLEMS, SAMPLES, ARMS = 60, 8, 20


def write(folder: Path, *, runs: int, steps: int, completion: int = 40) -> Path:
    """A study of that size, records written as a run writes them."""
    rng = random.Random(0)
    study = folder / "outputs" / "bench"
    lines = "".join(
        json.dumps({"step": step, **{name: rng.random() for name in METRICS}}) + "\n"
        for step in range(1, steps + 1)
    )
    arms = [Arm(label=f"lr={i}", levels={"lr": str(i)}, overrides=[f"trainer.lr={i}"]) for i in range(ARMS)]
    for i in range(runs):
        name, seed = f"run-{i:04d}", i // ARMS
        arms[i % ARMS].runs[str(seed)] = name
        (study / name).mkdir(parents=True)
        (study / name / "metrics.jsonl").write_text(lines)
        records.write_record(study / name / "run.json", _run(name, i % ARMS, seed, steps))
        for task in ("gen_test_k", "gen_heldout_k"):
            record = _evaluation(task, name, steps, seed, rng)
            path = study / name / "eval" / record.checkpoint / f"{task}.json"
            records.write_record(path, record)
            rows = [
                {"problem_id": p, "sample_idx": s, "completion": "7" * completion, "correct": True}
                for p in record.problem_ids
                for s in range(SAMPLES)
            ]
            write_samples(path.with_suffix(".samples.jsonl.gz"), rows)
    records.write_record(
        study / "study.json",
        StudyRecord(
            study="bench",
            question="How fast?",
            factors={"lr": [a.levels["lr"] for a in arms]},
            seeds=list(range(-(-runs // ARMS))),
            control={"lr": "0"},
            arms=arms,
            shared_base=True,
            command="",
        ),
    )
    return study


def _run(name: str, arm: int, seed: int, steps: int) -> RunRecord:
    config = {
        "study": "bench",
        "seed": seed,
        "objective": {"name": "grpo"},
        "model": {"name": "xs"},
        "trainer": {"lr": arm, "steps": steps},
    }
    return RunRecord(
        run_id=name,
        study="bench",
        status="finished",
        config=config,
        seeds={"seed": seed},
        data_hash="d",
        code={"commit": "c"},
        packages={},
        hardware={"device": "cpu"},
        started="",
        steps_done=steps,
    )


def _evaluation(task: str, run: str, step: int, seed: int, rng: random.Random) -> EvalRecord:
    rows = [[int(rng.random() < 0.4) for _ in range(SAMPLES)] for _ in range(PROBLEMS)]
    ones = [[1] * SAMPLES for _ in rows]
    return EvalRecord(
        key="k",
        task=task,
        task_version=1.0,
        split=task.split("_")[1],
        checkpoint=f"step_{step:06d}-k",
        step=step,
        run_id=run,
        base_id=None,
        n_problems=PROBLEMS,
        k=SAMPLES,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=80,
        eval_sampling_seed=seed,
        problem_ids=[f"{task}-{i}" for i in range(PROBLEMS)],
        pair_ids=[None] * PROBLEMS,
        topics=[None] * PROBLEMS,
        levels=[None] * PROBLEMS,
        correct=rows,
        answers=[["7" if c else str(rng.randrange(9, 15)) for c in row] for row in rows],
        stepped=ones,
        num_steps=ones,
        num_wrong_steps=[[0] * SAMPLES for _ in rows],
        lengths=ones,
        truncated=ones,
        best_constant=0.1,
        best_constant_answer="7",
        metrics={},
        seconds=1.0,
        lm_eval_version="0.4.13",
    )


MEASURE = """
import resource, sys, time
from pathlib import Path
start = time.perf_counter()
from analysis.study.load import load_study
study = load_study(Path(sys.argv[1]))
middle = time.perf_counter()
rows = len(study.steps)
end = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(study.runs), rows, middle - start, end - middle, peak / 1024, time.process_time())
"""


def measure(study: Path) -> tuple[float, float, float]:
    """(seconds for records and evaluations, for steps, peak MiB), in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(study)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    runs, rows, records_s, steps_s, peak, cpu = done.stdout.split()
    wall = float(records_s) + float(steps_s)
    print(
        f"{runs} runs, {rows} steps: records and evaluations {float(records_s):.2f} s, steps "
        f"{float(steps_s):.2f} s, together {wall:.2f} s ({float(cpu):.2f} s of CPU, imports included), "
        f"peak {float(peak):.0f} MiB"
    )
    return float(records_s), float(steps_s), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        study = write(Path(folder), runs=arguments.runs, steps=arguments.steps)
        print(f"written in {time.perf_counter() - start:.0f} s")
        for _ in range(3):
            measure(study)
    for completion in (40, 4000):  # completions a hundred times as long
        with tempfile.TemporaryDirectory() as folder:
            print(f"50 runs, completions of {completion} characters:", end=" ")
            measure(write(Path(folder), runs=50, steps=10, completion=completion))


if __name__ == "__main__":
    main()
