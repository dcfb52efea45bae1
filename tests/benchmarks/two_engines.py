"""One run of a small model through both engines, this project's trainer and verl: curves, and seconds a step.

    python -m tests.benchmarks.two_engines --verl-python VENV/bin/python --gpus 1 --json two_engines.json
    ... --verl trainer.verl.attention=varlen        # without flash-attn

On a GPU host with verl 0.9.1 in an environment of its own (harness/launch/large.md), SmolLM2-135M-Instruct
(`make smollm2`, or the hub) and GSM8K (MATH_DATA_DIR, or the hub). Each engine runs the same config at the
same seeds; runs stay in --folder, so that the same command goes on after a failure.

A curve is a metric's mean over seeds at each step; the engines agree where 0 lies within the 95 % interval
over seeds (Welch's t) of their difference over the last half of the steps. Evaluations are this project's on
both. Not run yet on a GPU: there was none with verl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import ttest_ind

from harness.records.code_state import code_state, packages
from harness.records.lines import read_metrics
from harness.records.records import read_run, run_folders

SETTINGS = (
    *("model=smollm2_135m_instruct", "data=gsm8k", "objective=dr_grpo", "dtype=bfloat16", "device=cuda"),
    *("objective.updates.minibatches=1", "trainer.warmup_steps=0", "trainer.steps=40", "trainer.lr=1e-5"),
    *("rollout.prompts_per_step=32", "rollout.group_size=8", "rollout.max_new_tokens=256"),
    *("eval.splits=[test]", "eval.k=4", "tracking.mode=disabled"),
)
COMPARED = ("reward", "accuracy", "completion_length", "truncated")


def launch(folder: Path, engine: str, seeds: int, settings: Sequence[str], more: Sequence[str]) -> Path:
    """Run a study of these seeds on an engine; its folder. Raises RuntimeError where a run did not finish."""
    arguments = [*settings, f"output_dir={folder}", f"study={engine}", f"trainer.engine={engine}", *more]
    command = [sys.executable, "-m", "harness", "-m", *arguments, f"seed={','.join(map(str, range(seeds)))}"]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise RuntimeError(f"{engine}: exit code {code}; what it said stands above and in {folder / engine}")
    return folder / engine


def read(study: Path) -> dict[str, Any]:
    """By metric its value at each step of each seed; seconds of a step; accuracy of the last checkpoint."""
    runs = [(read_run(folder), read_metrics(folder / "metrics.jsonl")) for folder in run_folders(study)]
    seconds = [
        sum(x for k, x in row.items() if k.startswith("seconds_")) for _, rows in runs for row in rows[1:]
    ]
    return {
        "curves": {name: [[row[name] for row in rows] for _, rows in runs] for name in COMPARED},
        "seconds_a_step": median(seconds),
        "gpus": runs[0][0].hardware["processes"],
        "unmatched": runs[0][0].unmatched,
    }


def agreement(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Difference of two engines' curves over their last half, with its interval over seeds."""
    first, second = ([sum(c[len(c) // 2 :]) / len(c[len(c) // 2 :]) for c in side] for side in (one, other))
    difference = sum(second) / len(second) - sum(first) / len(first)
    if len({*first}) == len({*second}) == 1:  # no seed differs from another on either side
        return {"difference": difference, "low": difference, "high": difference, "agree": not difference}
    interval = ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    return {"difference": difference, "low": low, "high": high, "agree": low <= 0 <= high}


def measure(folder: Path, seeds: int, settings: Sequence[str], verl: Sequence[str]) -> dict[str, Any]:
    found = {
        engine: read(launch(folder, engine, seeds, settings, more))
        for engine, more in {"native": (), "verl": verl}.items()
    }
    curves = {name: [found[engine]["curves"][name] for engine in found] for name in COMPARED}
    return {
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": [*settings, *verl],
        "engines": found,
        "agreement": {name: agreement(*sides) for name, sides in curves.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--verl-python", required=True, help="Python of the environment that has verl")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="further settings of both engines")
    parser.add_argument("--verl", nargs="*", default=[], help="further settings of the runs on verl")
    parser.add_argument("--folder", type=Path, default=Path("outputs/two_engines"), help="of the runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    verl = [f"trainer.verl.python={options.verl_python}", f"trainer.verl.gpus={options.gpus}", *options.verl]
    found = measure(options.folder.absolute(), options.seeds, [*SETTINGS, *options.set], verl)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for name, engine in found["engines"].items():
        print(f"{name}: {engine['seconds_a_step']:.2f} s a step on {engine['gpus']} GPU(s)")
    for name, of in found["agreement"].items():
        verdict = "within seed noise" if of["agree"] else "NOT within seed noise"
        print(f"{name}: {of['difference']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}], {verdict}")


if __name__ == "__main__":
    main()
