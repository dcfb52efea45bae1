"""One run on one GPU and over two (FSDP2 under torchrun): the same trajectory, and how fast.

    python -m tests.benchmarks.two_gpus --out two_gpus.json [--shape smollm2-135m] [--steps 10]

Twice the loop of `training.trainer` on random weights, no files needed: in float32, where both must agree,
and in bfloat16 for the tokens a second. Both sample, but two processes train on the tokens that one sampled:
their own are others before long, as random weights leave tokens so alike that rounding chooses. Stated
beforehand, for every step: grad_norm within 0.5 % of one GPU's, loss within 1e-4. Exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.training.run_state import Run
    from harness.types import Problem, Rollout

PROMPTS, SAMPLES, TOKENS = 32, 8, 128
RELATIVE = {"grad_norm": 0.005}
ABSOLUTE = {"loss": 1e-4}
TYPES = ("float32", "bfloat16")


def overrides(folder: Path, out: Path, dtype: str, steps: int, device: str) -> list[str]:
    return [
        *("model=folder", f"model.path={folder / 'model'}", f"dtype={dtype}", f"device={device}"),
        *("data=jsonl", f"data.path={folder / 'problems.jsonl'}", "data.answer_range=null"),
        *("objective=dr_grpo", "objective.reward={accuracy: 0.0, random: 1.0}"),
        "objective.updates={epochs: 1, minibatches: 2}",
        *(f"rollout.prompts_per_step={PROMPTS}", f"rollout.group_size={SAMPLES}"),
        *(f"rollout.max_new_tokens={TOKENS}", "rollout.max_batch_size=256"),
        *("trainer.microbatch_tokens=8192", f"trainer.steps={steps}", "trainer.lr=1e-5"),
        *("trainer.warmup_steps=0", "trainer.checkpoint_every=1000", "eval.splits=[]"),
        *("tracking.mode=disabled", f"output_dir={out}"),
    ]


def replay(kept: Path) -> None:
    """Samples are taken, and those in `kept` returned; where there is no such folder, it is filled."""
    from harness.training import trainer
    from harness.training.distributed import rank

    sample, recorded = trainer.sample, kept.exists()

    def replayed(run: Run, problems: Sequence[Problem], step: int, **place: int) -> list[Rollout]:
        rollouts, path = sample(run, problems, step, **place), kept / f"{step}.pkl"
        if recorded:
            found: list[Rollout] = pickle.loads(path.read_bytes())
            return found
        if rank() == 0:
            kept.mkdir(exist_ok=True)
            path.write_bytes(pickle.dumps(rollouts))
        return rollouts

    changed: Any = trainer
    changed.sample = replayed


def worker(folder: Path, out: Path, dtype: str, steps: int, device: str) -> None:
    """In every process of torchrun: train; the first writes the metrics of each step."""
    from harness.launch.expand import expand
    from harness.training.distributed import destroy_process_group, init_process_group, rank
    from harness.training.setup import setup
    from harness.training.trainer import train

    (job,) = expand(overrides(folder, out, dtype, steps, device), multirun=False).jobs
    device = init_process_group(device)
    replay(folder / f"rollouts_{dtype}")
    run = setup(job.config, base=folder, folder=out / "run", device=device)
    rows: list[dict[str, Any]] = []
    train(run, report=lambda *_: None, log=rows.append, evaluate=lambda _: None)
    if rank() == 0:
        (out / "rows.json").write_text(json.dumps(rows))
    destroy_process_group()


def trajectory(folder: Path, dtype: str, processes: int, steps: int, device: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as out:
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", "tests.benchmarks.two_gpus", "--worker", str(folder), out]
        command += ["--dtype", dtype, "--steps", str(steps), "--device", device]
        subprocess.run([sys.executable, *command], check=True)
        found: list[dict[str, Any]] = json.loads((Path(out) / "rows.json").read_text())
        return found


def apart(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> list[str]:
    """Steps at which two trajectories differ by more than was stated."""
    found = []
    for a, b in zip(one, two, strict=True):
        for name, limit in (RELATIVE | ABSOLUTE).items():
            scale = abs(a[name]) if name in RELATIVE else 1.0
            if abs(a[name] - b[name]) > limit * scale:
                found.append(f"step {a['step']}: {name} {a[name]:.5g} on one, {b[name]:.5g} on two")
    return found


def speed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Medians after the first step, which compiles, and before the last, which also publishes."""
    middle = rows[1:-1]
    seconds = [sum(v for k, v in row.items() if k.startswith("seconds_")) for row in middle]
    rates = ("sampled_per_second", "trained_per_second", "mfu", "seconds_train", "seconds_sample")
    found = {name: statistics.median(row[name] for row in middle) for name in rates if name in middle[0]}
    found["step_s"] = statistics.median(seconds)
    found["peak_gb"] = max(v for row in rows for k, v in row.items() if k.startswith("peak_memory")) / 1e9
    return found


def measure(shape: str, steps: int, device: str, dtypes: Sequence[str]) -> dict[str, Any]:
    from harness.model.files.codec import Codec
    from harness.records.code_state import code_state, hardware, packages
    from tests.benchmarks.rl_step import write_model, write_problems

    found: dict[str, Any] = {
        "device": hardware(device),
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": {
            "shape": shape,
            "prompts": PROMPTS,
            "samples": SAMPLES,
            "tokens": TOKENS,
            "steps": steps,
        },
        "tolerance": {"relative": RELATIVE, "absolute": ABSOLUTE},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder / "model", shape, device)
        codec = Codec.from_folder(folder / "model")
        vocab = json.loads((folder / "model" / "config.json").read_text())["vocab_size"]
        encode = type("Vocabulary", (), {"vocab": range(vocab)})
        write_problems(folder / "problems.jsonl", encode, codec.decode)
        for dtype in dtypes:
            rows = {n: trajectory(folder, dtype, n, steps, device) for n in (1, 2)}
            names = ("step", *RELATIVE, *ABSOLUTE)
            found[dtype] = {
                "one": {**speed(rows[1]), "trajectory": [{k: r[k] for k in names} for r in rows[1]]},
                "two": {**speed(rows[2]), "trajectory": [{k: r[k] for k in names} for r in rows[2]]},
                "apart": apart(rows[1], rows[2]),
            }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--dtypes", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--worker", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker, options.dtype, options.steps, options.device)
        return 0
    found = measure(options.shape, options.steps, options.device, options.dtypes)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    for dtype in options.dtypes:
        for name, x in found[dtype].items():
            if name != "apart":
                print(
                    f"{dtype}, {name} process(es): {x['step_s']:.2f} s a step, sampled "
                    f"{x['sampled_per_second']:.0f}/s, trained {x['trained_per_second']:.0f}/s"
                )
    if "float32" not in found:
        return 0
    apart_by = found["float32"]["apart"]
    print("\n".join(apart_by) or "float32 trajectories agree within the stated tolerance")
    return 1 if apart_by else 0


if __name__ == "__main__":
    raise SystemExit(main())
