"""Does a run in the warm process give what the same run in a fresh one gives? An equivalence test for GPUs.

    python -m tests.benchmarks.warm_equals_fresh --device cuda --seeds 10 --json warm_equals_fresh.json

On a CPU the answer is a test to the bit (tests/integration/test_warm.py). On a GPU two runs of the same
process differ already, so this is a TOST over seeds: for each number below the paired differences (warm
minus fresh) must have a mean whose 90 % interval (Student's t; two one-sided tests at 5 %) lies inside the
margin. The margins stand here, before any run. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.launch.bookkeeping import final_numbers
from harness.records.code_state import code_state, hardware, packages
from harness.records.lines import read_metrics
from harness.records.records import RunRecord
from harness.schema.run_config import validate
from tests.benchmarks.sweep_overhead import both, records

MARGINS = {
    "test/avg_at_k": 0.03,  # share of right samples on 100 problems x 8 samples
    "reward": 0.03,  # mean over the last quarter of the steps
    "kept_loss": 0.05,  # nats a token, at the last checkpoint
}
SETTINGS = (
    *("model=ladder_xs", "model.pretrain.steps=300", "objective=grpo", "tracking.mode=disabled"),
    *("data.num_train=256", "data.num_validation=8", "data.num_test=100", "data.num_heldout=0"),
    *("trainer.steps=16", "eval.splits=[test]", "eval.k=8", "eval.greedy=false"),
)


def outcomes(study: Path, record: RunRecord) -> dict[str, float]:
    folder = study / record.run_id
    rows = read_metrics(folder / "metrics.jsonl")
    last = rows[-(len(rows) // 4) :]
    numbers = final_numbers(validate(record.config), folder, record.steps_done)
    return {
        "test/avg_at_k": numbers["test/avg_at_k"],
        "reward": sum(row["reward"] for row in last) / len(last),
        "kept_loss": rows[-1]["kept_loss"],
    }


def tost(differences: list[float], margin: float) -> dict[str, Any]:
    """Mean difference, its 90 % interval, the TOST p-value, and whether the two are equivalent."""
    x = np.asarray(differences)
    mean, error, df = float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))), len(x) - 1
    half = float(stats.t.ppf(0.95, df)) * error
    if error == 0.0:
        p = 0.0 if abs(mean) < margin else 1.0
    else:
        p = float(max(stats.t.sf((mean + margin) / error, df), stats.t.cdf((mean - margin) / error, df)))
    return {
        "margin": margin,
        "differences": differences,
        "mean": mean,
        "interval_90": [mean - half, mean + half],
        "p": p,
        "equivalent": p < 0.05,
    }


def measure(device: str, num_seeds: int, folder: Path) -> dict[str, Any]:
    both(folder, (*SETTINGS, f"device={device}"), list(range(num_seeds)))
    found = {
        name: {r.config["seed"]: outcomes(folder / name, r) for r in records(folder / name)}
        for name in ("fresh", "warm")
    }
    seeds = sorted(found["fresh"])
    some = records(folder / "warm")[0]
    return {
        "device": hardware(some.hardware["device"]),
        "commit": code_state()["commit"],
        "versions": packages(),
        "settings": list(SETTINGS),
        "seeds": seeds,
        "fresh": found["fresh"],
        "warm": found["warm"],
        "same_to_the_bit": sum(found["fresh"][seed] == found["warm"][seed] for seed in seeds),
        "tests": {
            name: tost([found["warm"][s][name] - found["fresh"][s][name] for s in seeds], margin)
            for name, margin in MARGINS.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.device, options.seeds, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for name, test in found["tests"].items():
        low, high = test["interval_90"]
        verdict = "equivalent" if test["equivalent"] else "NOT shown to be equivalent"
        print(
            f"{name}: warm - fresh {test['mean']:+.4f} [{low:+.4f}, {high:+.4f}], "
            f"margin {test['margin']}: {verdict}"
        )
    print(f"{found['same_to_the_bit']} of {len(found['seeds'])} seeds agree to the bit")
    return 0 if all(test["equivalent"] for test in found["tests"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
