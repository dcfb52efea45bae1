"""The reward of one of verl's outputs by the project's grader, and a line about it for the run's record."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.grading.grade import grade
from harness.identity import streams_of
from harness.model.files.codec import Codec
from harness.schema.prompts import own_answer
from harness.schema.run_config import RunConfig
from harness.training.reward_terms import reward_of
from harness.training.verl.prompts import read_problems
from harness.training.verl.read_back import outputs_folder
from harness.types import Rollout


class Scorer:
    """Grades, rewards and writes down the outputs of one process of verl.

    `folder` is the run's folder `verl`, `start` the model folder that training begins from, whose tokenizer
    says what ends an output.
    """

    def __init__(self, config: RunConfig, folder: Path, start: Path) -> None:
        self.config, self.codec = config, Codec.from_folder(start)
        self.problems = read_problems(folder / "problems.json")
        seed = streams_of(config)["rollout"]
        self.reward = reward_of(config, opens_thought=self.codec.opens_thought, seed=seed)
        self.folder, self.name = folder, f"{socket.gethostname()}-{os.getpid()}.jsonl"

    def score(self, problem_id: str, place: int, tokens: Sequence[int], num_prompt_tokens: int) -> float:
        """The reward of a completion, its end token included if it has one; `place` is its prompt's row."""
        config, problem = self.config, self.problems[problem_id]
        ends = bool(tokens) and tokens[-1] in self.codec.eos_token_ids
        text = self.codec.decode(tokens[: len(tokens) - ends])
        rollout = Rollout(problem_id, 0, tuple(tokens), text, None, "stop" if ends else "length")
        graded = grade(
            own_answer(text, config.data.template),
            problem.answer,
            rules=tuple(config.data.answer_rules),
            use_symbolic=config.data.symbolic,
            exact=problem.exact,
        )
        reward = self.reward(rollout, graded, problem, 0.0, 0.0)
        if config.objective.truncated == "fail" and not ends:
            reward = config.objective.fail_reward
        shown = place % config.rollout.prompts_per_step * config.rollout.group_size < config.rollout.keep
        self._write(
            at=time.time(),
            place=place,
            problem_id=problem_id,
            num_tokens=len(tokens),
            num_prompt_tokens=num_prompt_tokens,
            reward=reward,
            correct=graded.correct,
            extracted=graded.extracted,
            finish_reason=rollout.finish_reason,
            text=text if shown else None,
        )
        return reward

    def _write(self, **row: Any) -> None:
        step = row["place"] // self.config.rollout.prompts_per_step + 1
        folder = outputs_folder(self.folder, step)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / self.name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
