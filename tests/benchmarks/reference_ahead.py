"""A GRPO step with a KL term and outputs of unequal length: the reference while the engine decodes, or after.

python -m tests.benchmarks.reference_ahead [--shape smollm2-135m] [--mean 128] [OVERRIDE ...]

The step of `rl_step` (64 prompts × 8, at most 512 tokens, bf16) with KL to the base. Every `--mean`-th token
of the vocabulary ends an output, so that lengths are geometric with about that mean. Both ways have the same
prompts and seeds, in turn, within one process. The first four steps, which compile, do not count, nor does
the last, which is saved. Medians, seconds a step, in one line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.rl_step import settings, write_model, write_problems

WARM = 4
SHOWN = ("seconds_sample", "seconds_reference", "seconds_train", "sampled_tokens", "truncated")


def is_ahead(step: int) -> bool:
    """Of each pair of equal steps one, the first and the second in turn."""
    return (step + step // 2) % 2 == 0


def pair_steps(device: str) -> None:
    """Steps 2 n and 2 n + 1 sample the same prompts with the same seeds, with and without the pass ahead."""
    from harness import experience, reference_ahead, trainer

    reference_ahead.DEVICES = (device,)
    problems_at, sample, ahead = trainer.problems_at, trainer.sample, experience.reference_ahead
    changed: Any = trainer
    changed.problems_at = lambda run, step: problems_at(run, step // 2)
    changed.sample = lambda run, problems, step, **place: sample(run, problems, step // 2, **place)
    changed = experience
    changed.reference_ahead = lambda run, asked: ahead(run, asked) if is_ahead(run.step) else None


def measure(folder: Path, data: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    from harness import trainer
    from harness.compose import expand
    from harness.state import setup

    overrides = settings(folder, data, out, args.steps, args.microbatch_tokens)
    lines = [*overrides, "objective.kl.coef=0.001", "trainer.lr=1e-9", *args.overrides]
    (job,) = expand(lines, multirun=False).jobs
    (out / "base").mkdir(parents=True)
    (out / "base" / "model").symlink_to(folder)
    run = setup(job.config, base=out / "base", folder=out / "run", device=args.device)
    run.engine._eos = frozenset(range(1, run.policy.dims.vocab_size, args.mean))  # type: ignore[attr-defined]
    pair_steps(args.device)
    times, rows = [time.perf_counter()], list[dict[str, Any]]()

    def log(metrics: dict[str, Any]) -> None:
        if args.device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter())
        rows.append(metrics)

    trainer.train(run, report=lambda *_: None, log=log, evaluate=lambda _: None)
    seconds = [b - a for a, b in itertools.pairwise(times)]
    found: dict[str, Any] = {}
    for name, ahead in (("ahead", True), ("after", False)):
        steps = [i for i in range(WARM, args.steps - 1) if is_ahead(i) == ahead]
        medians = {key: statistics.median(rows[i][key] for i in steps) for key in SHOWN}
        peak = max(x for i in steps for key, x in rows[i].items() if key.startswith("peak_memory"))
        found[name] = {"step_s": [round(seconds[i], 4) for i in steps]}
        found[name] |= {
            "median_s": statistics.median(found[name]["step_s"]),
            **medians,
            "peak_gb": peak / 1e9,
        }
    found["ahead"]["share"] = statistics.median(x["reference_ahead"] for x in rows if "reference_ahead" in x)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--shape", default="qwen2.5-0.5b", choices=["qwen2.5-0.5b", "smollm2-135m", "ladder-l"]
    )
    parser.add_argument("--mean", type=int, default=128, help="tokens of an output, about")
    parser.add_argument("--steps", type=int, default=21, help="all but five count")
    parser.add_argument("--microbatch-tokens", type=int, default=16384)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("overrides", nargs="*", help="of the run, such as rollout.max_new_tokens=1024")
    args = parser.parse_args()
    from harness.codec import Codec

    with tempfile.TemporaryDirectory() as work:
        folder, data = Path(work) / args.shape, Path(work) / "problems.jsonl"
        folder.mkdir()
        write_model(folder, args.shape, args.device)
        tokenizer: Any = Codec.from_folder(folder)
        tokenizer.vocab = tokenizer.tokenizer.get_vocab()
        write_problems(data, tokenizer, tokenizer.decode)
        found = measure(folder, data, Path(work) / "out", args)
    device = "cpu" if args.device == "cpu" else torch.cuda.get_device_name()
    chosen = {"shape": args.shape, "mean": args.mean, "microbatch_tokens": args.microbatch_tokens}
    print(json.dumps({"device": device, **chosen, "overrides": args.overrides, **found}))


if __name__ == "__main__":
    main()
