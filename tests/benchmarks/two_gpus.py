"""One run on one GPU and over two, under torchrun: seconds a step, memory, and whether they agree.

    python -m tests.benchmarks.two_gpus --out two_gpus.json [--sizes 1.5b-512 1.5b-2048 7b-2048 agree]

The loop of `training.trainer` on random weights, no files needed. Every output has the length of its size,
whatever is sampled; the first step, which compiles, is left out. A size of one GPU alone or of two alone is
taken with --processes; what is measured is written at once, beside what --out already holds. 7b-2048 does not
fit one GPU: its memory there is the estimate of the preflight.

agree: twice 6 steps in float32, which must agree. Two processes train on the tokens that one sampled: their
own are others before long, as random weights leave tokens so alike that rounding chooses. Stated beforehand,
for every step: grad_norm within 0.5 % of one GPU's, loss within 1e-4. Exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.training.run_state import Run
    from harness.types import Problem, Rollout


@dataclass(frozen=True)
class Size:
    """A model's shape and the work of a step."""

    shape: str
    prompts: int
    samples: int
    tokens: int
    dtype: str = "bfloat16"
    steps: int = 4
    microbatch_tokens: int = 16384
    checkpointing: bool = False
    fits_one: bool = True


SIZES = {
    "1.5b-512": Size("qwen2.5-1.5b", 32, 8, 512),
    "1.5b-2048": Size("qwen2.5-1.5b", 16, 8, 2048),
    "7b-2048": Size(
        "qwen2.5-7b", 8, 8, 2048, steps=3, microbatch_tokens=8192, checkpointing=True, fits_one=False
    ),
    "agree": Size("smollm2-135m", 32, 8, 128, dtype="float32", steps=6, microbatch_tokens=8192),
    "tiny": Size("ladder_l", 4, 4, 16, dtype="float32", steps=3, microbatch_tokens=512),
}
TIMED = ("1.5b-512", "1.5b-2048", "7b-2048")
RELATIVE = {"grad_norm": 0.005}
ABSOLUTE = {"loss": 1e-4}


def overrides(size: Size, folder: Path, out: Path, device: str, parallel: str) -> list[str]:
    return [
        *("model=folder", f"model.path={folder / 'model'}", f"dtype={size.dtype}", f"device={device}"),
        *("data=jsonl", f"data.path={folder / 'problems.jsonl'}", "data.answer_range=null"),
        *("objective=dr_grpo", "objective.reward={accuracy: 0.0, random: 1.0}"),
        *(f"rollout.prompts_per_step={size.prompts}", f"rollout.group_size={size.samples}"),
        *(f"rollout.max_new_tokens={size.tokens}", "rollout.max_batch_size=256"),
        f"rollout.release={str(not size.fits_one).lower()}",
        *(f"trainer.microbatch_tokens={size.microbatch_tokens}", f"trainer.steps={size.steps}"),
        f"trainer.gradient_checkpointing={str(size.checkpointing).lower()}",
        *("trainer.lr=1e-5", "trainer.warmup_steps=0", "trainer.checkpoint_every=1000", "eval.splits=[]"),
        *(f"trainer.parallel={parallel}", "tracking.mode=disabled", f"output_dir={out}"),
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


def worker(names: Sequence[str], folder: Path, out: Path, device: str, parallel: str) -> None:
    """In every process of torchrun: train each size; the first writes the metrics of its steps."""
    import torch

    from harness.launch.expand import expand
    from harness.training import trainer
    from harness.training.distributed import destroy_process_group, init_process_group, rank
    from harness.training.setup import setup
    from harness.training.shared_engine import SharedEngine

    changed: Any = trainer  # a step alone is timed: neither retention nor what is written at its end
    changed.save_weights = lambda *_, **__: None
    changed.measure_retention = lambda *_, **__: {}
    device = init_process_group(device)
    for name in names:
        size = SIZES[name]
        if name == "agree":
            replay(folder / "rollouts")
        (job,) = expand(
            overrides(size, folder, out / name, device.partition(":")[0], parallel), multirun=False
        ).jobs
        run = setup(job.config, base=folder, folder=out / name / "run", device=device)
        engine: Any = run.engine.engine if isinstance(run.engine, SharedEngine) else run.engine
        engine._eos = frozenset()  # every output has the length of its size
        rows: list[dict[str, Any]] = []
        times = [time.perf_counter()]

        def log(metrics: dict[str, Any], rows: Any = rows, times: Any = times) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter())
            rows.append(metrics)

        trainer.train(run, report=lambda *_: None, log=log, evaluate=lambda _: None)
        if rank() == 0:
            seconds = [b - a for a, b in itertools.pairwise(times)]
            found = {"rows": rows, "seconds": seconds, "placement": asdict(run.placement)}
            (out / f"{name}.json").write_text(json.dumps(found))
        del run, engine
    destroy_process_group()


def trained(
    names: Sequence[str], folder: Path, processes: int, device: str, parallel: str
) -> dict[str, dict[str, Any]]:
    """What `worker` found for each size, in so many processes."""
    with tempfile.TemporaryDirectory() as out:
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", "tests.benchmarks.two_gpus", "--worker", str(folder), out, "--sizes", *names]
        command += ["--device", device, "--parallel", parallel if processes > 1 else "auto"]
        done = subprocess.run([sys.executable, *command], check=False)
        found = {name: Path(out) / f"{name}.json" for name in names}
        if done.returncode:
            print(f"{', '.join(names)} on {processes}: exit code {done.returncode}", file=sys.stderr)
        return {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}


def apart(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> list[str]:
    """Steps at which two trajectories differ by more than was stated."""
    found = []
    for a, b in zip(one, two, strict=True):
        for name, limit in (RELATIVE | ABSOLUTE).items():
            scale = abs(a[name]) if name in RELATIVE else 1.0
            if abs(a[name] - b[name]) > limit * scale:
                found.append(f"step {a['step']}: {name} {a[name]:.5g} on one, {b[name]:.5g} on two")
    return found


def speed(found: dict[str, Any]) -> dict[str, Any]:
    """Medians of the steps after the first, which compiles; the largest memory of all."""
    rows = found["rows"][1:]
    names = [n for n in rows[0] if n.startswith("seconds_") or n in ("mfu", "sampled_tokens", "sampler_gap")]
    return {
        **{name: statistics.median(row[name] for row in rows) for name in names},
        "steps_s": found["seconds"][1:],
        "step_s": statistics.median(found["seconds"][1:]),
        "first_s": found["seconds"][0],
        "peak_gb": max(v for row in found["rows"] for k, v in row.items() if k.startswith("peak_memory"))
        / 1e9,
        "placement": found["placement"],
    }


def summary(size: Size, entry: dict[str, Any]) -> dict[str, Any]:
    """A size's entry with its seconds on one GPU and two, and their ratio, as far as they are known."""
    entry["settings"] = asdict(size)
    for number in ("one", "two"):
        if number in entry:
            entry[f"{number}_s"] = entry[number]["step_s"]
    if {"one_s", "two_s"} <= entry.keys():
        entry["speedup"] = entry["one_s"] / entry["two_s"]
    return entry


def estimated(size: Size, device: str) -> float:
    """GB that one process would need, by the preflight."""
    from harness.launch.compose import Composer
    from harness.model.needs import needs
    from tests.benchmarks.shapes import SHAPES

    config = Composer().config(
        [
            *("experiment=smoke", f"dtype={size.dtype}", f"rollout.max_new_tokens={size.tokens}"),
            *(f"rollout.prompts_per_step={size.prompts}", f"rollout.group_size={size.samples}"),
            f"trainer.microbatch_tokens={size.microbatch_tokens}",
            *("rollout.release=true", f"trainer.gradient_checkpointing={str(size.checkpointing).lower()}"),
        ]
    )
    return needs(config, SHAPES[size.shape], device).total / 1e9


def write_inputs(folder: Path, shape: str, device: str) -> None:
    """A model with random weights and problems, by a process that leaves the GPU as it was."""
    code = (
        "import json, sys; from pathlib import Path; from harness.model.files.codec import Codec\n"
        "from tests.benchmarks.rl_sides import write_model, write_problems\n"
        "folder, shape, device = Path(sys.argv[1]), *sys.argv[2:]\n"
        "write_model(folder / 'model', shape, device); codec = Codec.from_folder(folder / 'model')\n"
        "vocab = json.loads((folder / 'model' / 'config.json').read_text())['vocab_size']\n"
        "encode = type('Vocabulary', (), {'vocab': range(vocab)})\n"
        "write_problems(folder / 'problems.jsonl', encode, codec.decode)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), shape, device], check=True)


def measure(
    names: Sequence[str], processes: Sequence[int], out: Path | None, device: str, parallel: str
) -> Any:
    """Measure the sizes, those of a shape in the same processes; what is known is written after each."""
    from harness.records.code_state import code_state, hardware, packages

    found: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
    found = {"sizes": found.get("sizes", {})}
    found |= {"device": hardware(device), "commit": code_state()["commit"], "versions": packages()}
    found |= {"tolerance": {"relative": RELATIVE, "absolute": ABSOLUTE}, "parallel": parallel}
    for shape in dict.fromkeys(SIZES[name].shape for name in names):
        with tempfile.TemporaryDirectory() as temporary:
            write_inputs(Path(temporary), shape, device)
            rows: dict[int, Any] = {}
            for number in processes:
                same = [n for n in names if SIZES[n].shape == shape and (number > 1 or SIZES[n].fits_one)]
                rows[number] = trained(same, Path(temporary), number, device, parallel) if same else {}
                for name, result in rows[number].items():
                    entry = found["sizes"].setdefault(name, {})
                    entry["one" if number == 1 else "two"] = speed(result)
                    if not SIZES[name].fits_one:
                        entry["one_needs_gb"] = estimated(SIZES[name], device)
                    summary(SIZES[name], entry)
                    if name in ("agree", "tiny") and number == 2 and name in rows.get(1, {}):
                        entry["apart"] = apart(rows[1][name]["rows"], result["rows"])
                if out:
                    out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=TIMED)
    parser.add_argument("--processes", nargs="+", type=int, choices=[1, 2], default=[1, 2])
    parser.add_argument("--parallel", choices=["auto", "replicas", "sharded"], default="auto")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--worker", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        folder, out = options.worker
        worker(options.sizes, folder, out, options.device, options.parallel)
        return 0
    found = measure(options.sizes, options.processes, options.out, options.device, options.parallel)
    code = 0
    for name, x in found["sizes"].items():
        said = [f"{n}: {x[n]['step_s']:.2f} s, {x[n]['peak_gb']:.1f} GB" for n in ("one", "two") if n in x]
        print(f"{name}: {'; '.join(said)}; speedup {x.get('speedup', float('nan')):.2f}")
        print("\n".join(x.get("apart", [])))
        code = 1 if x.get("apart") else code
    return code


if __name__ == "__main__":
    raise SystemExit(main())
