"""Another model's rollouts as training data: distillation by supervised learning on its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from harness.identity import teacher_folder
from harness.model.files.codec import Codec
from harness.model.files.hub import load_pretrained
from harness.model.files.teacher_files import same_vocabulary
from harness.rollout.native import NativeEngine
from harness.schema.prompts import make_prompt
from harness.seeds import derive
from harness.training.distributed import world_size
from harness.training.run_state import Run
from harness.training.shared_engine import SharedEngine
from harness.types import Problem, Rollout, RolloutEngine, SamplingParams


class Teacher:
    """A model with its own folder and tokenizer, which samples the prompts that the policy would."""

    def __init__(self, run: Run) -> None:
        folder, self.run = teacher_folder(run.config), run
        self.codec = Codec.from_folder(folder)
        self.same = same_vocabulary(
            folder, run.codec.tokenizer.get_vocab(), run.models.policy.dims.vocab_size
        )
        policy = load_pretrained(folder, dtype=getattr(torch, run.config.dtype), device=run.device)
        self.dims = policy.dims
        engine = NativeEngine(
            policy,
            eos_token_ids=self.codec.eos_token_ids,
            decode=self.codec.decode,
            max_batch_size=run.config.rollout.max_batch_size,
        )
        self.engine: RolloutEngine = engine if world_size() == 1 else SharedEngine(engine)

    def sample(self, problems: Sequence[Problem], step: int) -> list[Rollout]:
        """Sample `group_size` outputs of each problem, in the student's tokens, without sampler_logprobs.

        If the vocabularies differ, the text is encoded anew, with the student's end token if the teacher had
        ended. It is then cut at `rollout.max_new_tokens`, as the student's own output would be, and counts as
        truncated. The random numbers are those of the policy's own samples at this step.
        """
        run, rollout = self.run, self.run.config.rollout
        template = run.config.data.template
        own = [make_prompt(p, template, self.codec.prompt_ids) for p in problems]
        asked = [prompt for prompt in own for _ in range(rollout.group_size)]
        rollouts = self.engine.generate(
            asked,
            params=SamplingParams(max_new_tokens=rollout.max_new_tokens, temperature=rollout.temperature),
            seeds=[
                derive(run.seeds["rollout"], step, place, index)
                for place in range(len(problems))
                for index in range(rollout.group_size)
            ],
        )
        run.count("teacher", asked, rollouts, dims=self.dims)
        return rollouts if self.same else [self._translated(r) for r in rollouts]

    def _translated(self, rollout: Rollout) -> Rollout:
        end = self.run.codec.eos_token_ids[:1] if rollout.finish_reason == "stop" else ()
        ids, longest = (*self.run.encode(rollout.text), *end), self.run.config.rollout.max_new_tokens
        if len(ids) <= longest:
            return replace(rollout, completion_ids=ids)
        kept = ids[:longest]
        return replace(rollout, completion_ids=kept, text=self.run.decode(kept), finish_reason="length")
