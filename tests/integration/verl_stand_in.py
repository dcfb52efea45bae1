"""A stand-in for `python -m verl.trainer.main_ppo`: reads what verl is given, leaves what verl leaves.

It samples by a rule and trains by adding a constant, so that what this project does around verl runs whole on
a CPU. It says nothing about verl itself: tests/conformance/test_verl.py does. `STAND_IN_STOPS` names a step
after which it fails, once.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
import yaml
from safetensors.torch import load_file, save_file

from harness.schema.run_config import RunConfig
from harness.training.verl.scoring import Scorer
from harness.training.verl.slots import CONFIG

VERSION = "0.9.1"
SHELL = '#!/bin/sh\ncase "$1" in -c) echo {version};; *) exec {python} {script} "$@";; esac\n'


def install(folder: Path, version: str = VERSION) -> Path:
    """A program in the place of a Python that has verl."""
    path = folder / "python-of-verl"
    path.write_text(SHELL.format(version=version, python=sys.executable, script=Path(__file__).resolve()))
    path.chmod(0o755)
    return path


def main() -> None:
    work = Path(sys.argv[sys.argv.index("--config-path") + 1])
    given = yaml.safe_load((work / "verl.yaml").read_text())
    config = RunConfig.model_validate_json(Path(os.environ[CONFIG]).read_text())
    start = Path(given["actor_rollout_ref"]["model"]["path"])
    rows = pyarrow.parquet.read_table(given["data"]["train_files"]).to_pylist()
    scorer, trainer = Scorer(config, work, start), given["trainer"]
    latest = Path(trainer["default_local_dir"]) / "latest_checkpointed_iteration.txt"
    first = int(latest.read_text()) if latest.exists() else 0
    stops = int(os.environ.get("STAND_IN_STOPS", "0"))
    with open(os.environ["VERL_FILE_LOGGER_PATH"], "w", buffering=1) as log:
        for step in range(first + 1, trainer["total_training_steps"] + 1):
            size = given["data"]["train_batch_size"]
            for row in rows[(step - 1) * size : step * size]:
                _sample(row, scorer, given["actor_rollout_ref"]["rollout"]["n"], step)
            log.write(json.dumps({"step": step, "data": _metrics(step)}) + "\n")
            if step % trainer["save_freq"] == 0 or step == trainer["total_training_steps"]:
                _save(latest.parent / f"global_step_{step}", start, step)
                latest.write_text(str(step))
                _keep(latest.parent, trainer["max_actor_ckpt_to_keep"])
            if step == stops and first == 0:
                sys.exit("RuntimeError: the stand-in was told to stop")


def _keep(checkpoints: Path, most: int) -> None:
    """Wait until a reader that looks at every checkpoint has had the time to, then drop the oldest."""
    time.sleep(0.4)
    steps = sorted(checkpoints.glob("global_step_*"), key=lambda path: int(path.name.rsplit("_", 1)[1]))
    for path in steps[:-most]:
        shutil.rmtree(path)


def _sample(row: dict[str, Any], scorer: Scorer, number: int, step: int) -> None:
    """Outputs of one problem: its answer, a wrong one, and the others cut at the limit."""
    info, codec = row["extra_info"], scorer.codec
    answer = row["reward_model"]["ground_truth"]
    prompt = codec.encode(row["prompt"][0]["content"])
    for i in range(number):
        boxed = rf"\boxed{{{answer if i == 0 else answer + str(step % 10)}}}"
        text = boxed if i < 2 else "1" * 24
        tokens = codec.encode(text) + ([codec.eos_token_ids[0]] if i < 2 else [])
        scorer.score(info["problem_id"], info["place"], tokens, len(prompt))


def _metrics(step: int) -> dict[str, float | None]:
    return {
        "actor/grad_norm": None if step == 2 else 0.5,  # not finite: verl's log has null
        "actor/lr": 1e-4,
        "actor/loss": -0.1 * step,
        "actor/r1/ratio": 1.0,
        "timing_s/gen": 2.0,
        "timing_s/update_actor": 4.0,
        "timing_s/old_log_prob": 0.5,
        "timing_s/ref": 0.25,
        "timing_s/step": 8.0,
        "critic/score/mean": 0.25,
    }


def _save(folder: Path, start: Path, step: int) -> None:
    target = folder / "actor" / "huggingface"
    target.mkdir(parents=True, exist_ok=True)  # half of it may be there, of an attempt that was ended
    weights = {name: x.float() + 0.001 * step for name, x in load_file(start / "model.safetensors").items()}
    save_file({name: x.to(torch.float32) for name, x in weights.items()}, target / "model.safetensors")


if __name__ == "__main__":
    main()
