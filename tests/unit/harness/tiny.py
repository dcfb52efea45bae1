"""The smallest things that train: a two-letter policy for updates, an untrained base for whole steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.launch.compose import Composer
from harness.model.files.hub import save_pretrained
from harness.model.files.tokenizer import build_ladder_tokenizer, save_tokenizer
from harness.model.policy import init_policy
from harness.reward_models.in_training import add_reward_models
from harness.schema.run_config import RunConfig
from harness.training.run_state import Run
from harness.training.setup import setup
from harness.types import Grade, Problem, Prompt, Rollout, ScoredGroup
from tests.shapes import model_dims

COMPOSER = Composer()
# The sizes of experiment=smoke, with the rewards of each objective's own file.
SMALL = ("experiment=smoke", "objective.reward.inverted=0")
DIMS = model_dims(hidden_size=16, intermediate_size=24, head_dim=16, max_position_embeddings=64)


def configure(*overrides: str) -> RunConfig:
    return COMPOSER.config([*SMALL, *overrides])


def group(
    name: str, prompt: Sequence[int], completions: Sequence[Sequence[int]], rewards: Sequence[float]
) -> ScoredGroup:
    rollouts = tuple(
        Rollout(name, i, tuple(ids), "", (-1.0,) * len(ids), "stop") for i, ids in enumerate(completions)
    )
    grades = tuple(Grade(correct=r > 0, extracted="1", reason="") for r in rewards)
    problem = Problem(id=name, dataset="d", split="train", text="1+1", answer="2")
    return ScoredGroup(problem, Prompt(name, "question", "", tuple(prompt)), rollouts, grades, tuple(rewards))


def untrained_base(folder: Path) -> Path:
    """A base that was never pretrained, in the place and form of a real one."""
    tokenizer = build_ladder_tokenizer()
    dims = replace(DIMS, vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=256)
    end = tokenizer.token_to_id("<eos>")
    save_pretrained(init_policy(dims, 0), folder / "model", eos_token_ids=(end,))
    save_tokenizer(folder / "model")
    return folder


def run_on_untrained_base(folder: Path, *overrides: str) -> Run:
    config = configure(f"output_dir={folder}", *overrides)
    base = untrained_base(folder / "base")
    run = setup(config, base=base, folder=folder / "run", device="cpu")
    add_reward_models(run)
    return run


def write_rows(folder: Path, steps: int) -> None:
    """Metrics of so many steps, which a state that is saved after them needs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(json.dumps({"step": step}) + "\n" for step in range(1, steps + 1))
    (folder / "metrics.jsonl").write_text(rows)
