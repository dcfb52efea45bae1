"""Saving a run: its resume state, and the weights that others load."""

from __future__ import annotations

from pathlib import Path

from harness.model.files.hub import copy_tokenizer, save_pretrained
from harness.model.lora import save_adapter
from harness.training import checkpoint
from harness.training.run_state import Run


def save(run: Run) -> None:
    """Write the state that a killed run goes on from."""
    checkpoint.save_resume(
        run.folder,
        step=run.counters.step,
        policy=run.models.policy,
        optimizer=run.optimizer,
        trainer=run.counters.state_dict(),
        others=run.other_modules,
    )


def weights_folder(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step_{step:06d}"


def publish(run: Run) -> None:
    """Write the weights in the hub's format with their tokenizer, for evaluation, vLLM and transformers."""

    def write(target: Path) -> None:
        ends, begin = run.codec.eos_token_ids, run.codec.bos_token_id
        save_pretrained(run.sampler, target, eos_token_ids=ends, bos_token_id=begin)
        copy_tokenizer(run.base / "model", target)
        if (lora := run.config.trainer.lora) is not None:
            name = run.config.model.hub_id or run.config.model.name
            save_adapter(run.models.policy, lora, target / "adapter", base=name)

    checkpoint.publish(weights_folder(run.folder, run.counters.step), write)
