"""Stand-ins for what a sweep's jobs call; they run in child processes, so they are found by name.

What a run should do stands in the file `behaviour.json` of the output folder: {part of run id: action}.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from harness.data.load import data_fingerprint
from harness.identity import base_folder, base_id, digest, run_folder, run_id, streams_of
from harness.launch.status import mark_evaluated
from harness.records.progress import Reporter
from harness.records.records import BaseRecord, RunRecord, write_record, write_text
from harness.schema.run_config import RunConfig


def record(config: RunConfig, status: str, **fields: object) -> None:
    values = {
        "run_id": run_id(config),
        "study": config.study,
        "status": status,
        "config": config.model_dump(mode="json"),
        "seeds": streams_of(config),
        "base_id": base_id(config),
        "data_hash": digest(data_fingerprint(config.data)),
        "code": {"commit": "0" * 40},
        "packages": {},
        "hardware": {},
        "started": "2026-01-01T00:00:00+00:00",
        **fields,
    }
    write_record(run_folder(config) / "run.json", RunRecord.model_validate(values))


def execute(config: RunConfig, *, overrides: list[str], report: Reporter) -> str:
    assert (base_folder(config) / "base.json").exists() or not _behaviour(config, "needs_base")
    with (Path(config.output_dir) / "calls.txt").open("a") as file:
        file.write(run_id(config) + "\n")
    with (Path(config.output_dir) / "processes.txt").open("a") as file:
        file.write(
            f"{config.model.name} {config.seed} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n"
        )
    record(config, "running")
    report("training", 1, 2, "accuracy 0.5")
    action = _behaviour(config, run_id(config))
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "exit":
        os._exit(7)
    if action == "raise":
        raise RuntimeError("out of luck")
    if action in ("interrupt_parent", "preempt_parent"):
        (Path(config.output_dir) / "struck.txt").write_text(str(time.time()))
        number = signal.SIGINT if action == "interrupt_parent" else signal.SIGTERM
        os.kill(os.getppid() if _in_parent() else _parent(), number)
        time.sleep(30)
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if action == "busy":
        time.sleep(6)
    if action == "fail":
        record(config, "failed", reason="the loss is NaN")
        return "failed"
    if action == "diverge":
        record(config, "failed", reason="TrainingError: 3 steps in a row had a gradient that is not finite")
        return "failed"
    if action == "hold" and not (held := run_folder(config) / "held.txt").exists():  # once
        held.touch()
        report("held", 0, 1, "process 12 on host")
        return "held"
    mark_evaluated(config, base_folder(config), 0)
    mark_evaluated(config, run_folder(config), 3)
    given = {"overrides": overrides}
    record(
        config,
        "finished",
        **given,
        steps_done=3,
        seconds={"train": 6.0},
        finished="2026-01-01T00:01:00+00:00",
    )
    return "finished"


def ensure_base(config: RunConfig, report: Reporter) -> None:
    with (Path(config.output_dir) / "calls.txt").open("a") as file:
        file.write(base_id(config) + "\n")
    with (Path(config.output_dir) / "bases.txt").open("a") as file:
        file.write(f"{base_id(config)} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    report("pretraining " + base_id(config), 2, 2)
    write_text(base_folder(config) / "model" / "model.safetensors", "weights")
    sizes = {"num_parameters": 1, "num_non_embedding_parameters": 1, "tokens": 0, "flops": 0.0}
    spent = {"seconds": 0.0, "final_loss": 0.0, "code": {}}
    made = BaseRecord.model_validate({"base_id": base_id(config), "identity": {}, **sizes, **spent})
    write_record(base_folder(config) / "base.json", made)


def _behaviour(config: RunConfig, name: str) -> str | None:
    path = Path(config.output_dir) / "behaviour.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    return next((action for part, action in table.items() if part in name), None)


def _in_parent() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is None


def _parent() -> int:
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    return parent.pid


RIGHT = {"sft_rejection": 0.4, "grpo": 0.7}  # share of right samples in `execute_and_evaluate`


def execute_and_evaluate(config: RunConfig, *, overrides: list[str], report: Reporter) -> str:
    """`execute`, with evaluations of the run and its base that the analysis can read."""
    from tests.unit.analysis.conftest import evaluation, write_evaluation

    outcome = execute(config, overrides=overrides, report=report)
    if outcome != "finished":
        return outcome
    settings = {"split": "test", "seed": config.seed, "base": base_id(config)}
    rate = RIGHT[config.objective.name]
    write_evaluation(run_folder(config), evaluation(rate, step=3, run_id=run_id(config), **settings))
    write_evaluation(base_folder(config), evaluation(0.3, step=0, run_id=None, **settings))
    return outcome
