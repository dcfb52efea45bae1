"""The schema of how a run samples, trains and evaluates. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.section import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section
from harness.slots import ProcessRewardModelConfig, RewardModelConfig


class RolloutConfig(Section):
    """How training completions are sampled: `prompts_per_step` × `group_size` each step."""

    engine: Literal["native"]
    prompts_per_step: Positive
    group_size: Positive
    max_new_tokens: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: NonNegative
    max_batch_size: Positive
    keep: NonNegative = 0


class TrainerConfig(Section):
    """AdamW. `microbatch_tokens` bounds the padded tokens of one forward; it does not change the gradient."""

    steps: Positive
    lr: PositiveFloat
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: NonNegative
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    adam_eps: PositiveFloat
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    microbatch_tokens: Positive
    checkpoint_every: Positive


class EvalConfig(Section):
    """What is measured on the base and on each checkpoint; it has a key of its own, outside `run_id`.

    `rerank` names the reward models of the base that choose the best of the k samples (harness/rerank.py);
    `outcome_model` and `process_model` say how these are trained.
    """

    splits: list[Literal["train", "perturbed", "validation", "test", "heldout"]]
    k: Positive
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Positive
    greedy: bool
    max_train_problems: Positive | None = None
    at_steps: list[NonNegative] = Field(default=[])
    rerank: list[Literal["outcome", "process"]] = Field(default=[])
    outcome_model: RewardModelConfig | None = None
    process_model: ProcessRewardModelConfig | None = None

    @model_validator(mode="after")
    def _reranks(self) -> Self:
        for kind in self.rerank:
            if getattr(self, f"{kind}_model") is None:
                raise ValueError(
                    f"rerank={kind} with {kind}_model=null; give its training as conf/eval/default.yaml does"
                )
        return self
