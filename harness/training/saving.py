"""Saving a run and going on from it: its resume state, and the weights that others load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from harness.identity import weights_folder
from harness.model.files.hub import copy_tokenizer, save_pretrained
from harness.model.lora import save_adapter
from harness.records import published
from harness.records.lines import leading_lines
from harness.records.published import Damaged, remedy, sync, verify
from harness.training import checkpoint
from harness.training.distributed import rank
from harness.training.offline import read_accepted
from harness.training.run_state import Run
from harness.training.waiting import restored, stored


def save(run: Run) -> None:
    """Write the state that a killed run goes on from, after the metrics of its steps are on the disk."""
    step, metrics = run.counters.step, run.folder / "metrics.jsonl"
    if rank() == 0 and metrics.exists():
        sync(metrics)
        sync(run.folder)
    checkpoint.save_resume(
        run.folder,
        step=step,
        policy=run.models.policy,
        optimizer=run.optimizer,
        trainer={
            **run.counters.state_dict(),
            **({"waiting": stored(run.waiting)} if run.waiting else {}),
            "metrics_sha256": _digest(leading_lines(metrics)[:step]),
        },
        trained=run.trained_modules,
        others=run.other_modules,
    )


def restore(run: Run) -> None:
    """Go on from the newest state that is whole; a run without one starts from its base."""
    state = checkpoint.load_resume(
        run.folder,
        policy=run.models.policy,
        optimizer=run.optimizer,
        trained=run.trained_modules,
        others=run.other_modules,
        check=lambda trainer: _check_beside(run, trainer),
    )
    if state is not None:
        run.counters.load_state_dict(state)
        run.waiting = restored(state.get("waiting", []), run.problems, run.prompts)


def _check_beside(run: Run, trainer: dict[str, Any]) -> None:
    """Raise Damaged unless all that a saved state goes with is there: what only an earlier step can make.

    That is each step's row of metrics.jsonl, the reward models, and the samples of offline training.
    """
    metrics, step, objective = run.folder / "metrics.jsonl", trainer["step"], run.config.objective
    rows = leading_lines(metrics)
    if len(rows) < step:
        raise Damaged(f"{metrics}: has steps 1 to {len(rows)} of {step}", remedy(metrics))
    if trainer.get("metrics_sha256") not in (None, _digest(rows[:step])):
        raise Damaged(f"{metrics}: its rows of steps 1 to {step} are not those written", remedy(metrics))
    for name in ("reward_model", "process_reward_model"):
        if getattr(objective, name) is not None:
            published.require(run.folder / name, {"owner": run.folder.name})
    if objective.offline is not None and not objective.uses_references:
        read_accepted(run.folder)


def _digest(rows: list[bytes]) -> str:
    return hashlib.sha256(b"".join(rows)).hexdigest()


def publish(run: Run) -> None:
    """Write the weights in the hub's format with their tokenizer, for evaluation, vLLM and transformers."""
    step = run.counters.step

    def write(target: Path) -> None:
        ends, begin = run.codec.eos_token_ids, run.codec.bos_token_id
        save_pretrained(run.sampler, target, eos_token_ids=ends, bos_token_id=begin)
        verify(run.start)
        copy_tokenizer(run.start, target)
        if (lora := run.config.trainer.lora) is not None:
            name = run.config.start or run.config.model.hub_id or run.config.model.name
            save_adapter(run.models.policy, lora, target / "adapter", base=name)

    folder = weights_folder(run.folder, step)
    published.publish(folder, write, identity=checkpoint.identity(run.folder, step))
