"""The schema of how a run samples and trains. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from harness.schema.search_config import RolloutSearchConfig
from harness.schema.section import (
    Check,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    Used,
)
from harness.schema.verl_config import VerlConfig


class VllmConfig(Section):
    """Options of engine=vllm."""

    memory: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the GPU's memory for weights and cache."""
    enforce_eager: bool | None = None
    """Leave out compilation and CUDA graphs; null: on a CPU alone."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the engine; auto: the policy's."""
    max_model_len: Positive | None = None
    """Longest sequence, prompt and completion, in tokens; null: the model's."""


class RolloutConfig(Section):
    """How training completions are sampled: prompts_per_step x group_size in each step."""

    engine: Literal["native", "vllm"]
    """Program that samples: this project's own, or vLLM."""
    prompts_per_step: Positive
    """Problems in a step."""
    group_size: Positive
    """Completions of each problem."""
    max_new_tokens: Positive
    """Longest completion in tokens; a longer one is cut there and counts as truncated."""
    temperature: PositiveFloat
    """Logits are divided by it, in sampling and in every logprob of training."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """Must be 1: training needs logprobs of the whole distribution."""
    top_k: NonNegative
    """Must be 0, no limit, for the same reason."""
    max_batch_size: Positive
    """Completions that decode at once: it bounds memory. Samples change by float rounding alone."""
    cache: Literal["auto", "whole", "paged"] = "auto"
    """Keys and values of engine=native on a GPU: whole rows, each with room for the longest completion, or
    pages of 64 tokens that follow what is written. auto: pages where a completion, in training or evaluation,
    may have 4,096 tokens or more."""
    cache_memory: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """With cache=paged, the largest share of the GPU's memory for it; completions that find no room wait.
    Samples change by float rounding alone, and with `exact` not at all."""
    exact: bool = False
    """Sample and train by kernels in which a token's logprob is the same bits in any batch (slower); needs
    cache=paged."""
    keep: NonNegative = 0
    """Completions of each step that are written to disk for a reader."""
    vllm: VllmConfig = VllmConfig()
    """Options of engine=vllm."""
    max_sampler_kl: PositiveFloat | None = None
    """Largest `sampler_trainer_kl` in nats/token, above which a run stops; null: 1e-5 where the engine
    computes in float32, else 0.01."""
    lag: NonNegative = 0
    """Steps by which the weights that sample are older than those that train; 0: none. The ratio is then to
    the policy that sampled, by its own logprobs; with objective.tis it stays to the policy that begins the
    update, and tis weighs by that one's ratio to the sampling policy."""
    search: RolloutSearchConfig | None = None
    """Take samples from a search, `{fn: mcts, value: oracle, budget: 640}`; null: independent samples."""
    step_metrics: bool = False
    """Measure the statements of derivations at each step (`derivation_*`); where steps are rewarded it is
    done
    anyway."""
    release: bool = False
    """Free the engine's memory while gradients are computed: its cache, and of vLLM on a GPU the weights."""

    checks: ClassVar[tuple[Check[RolloutConfig], ...]] = (
        Check(
            lambda c: c.engine != "native" and (c.cache != "auto" or c.exact),
            "cache={c.cache}, exact={c.exact} with engine={c.engine}; they are options of engine=native",
        ),
        Check(
            lambda c: c.cache != "paged" and c.cache_memory != 0.3,
            "cache_memory is set with cache={c.cache}; set cache=paged, or leave it out",
        ),
        Check(
            lambda c: c.exact and c.cache != "paged",
            "exact=true with cache={c.cache}; set cache=paged",
        ),
        Check(
            lambda c: c.engine != "vllm" and c.vllm != VllmConfig(),
            "vllm.* is set with engine={c.engine}; set engine=vllm, or leave vllm out",
        ),
    )

    used: ClassVar[tuple[Used[RolloutConfig], ...]] = (
        Used(
            ("cache",),
            lambda c, run: run.device != "cpu",
            "device={run.device}: it is for a GPU's sampler; leave it out",
        ),
        Used(
            ("max_sampler_kl", "release"),
            lambda c, run: run.trainer.engine == "native",
            "verl hands weights over by itself, and frees its sampler while it trains (trainer.engine=verl); "
            "leave it out",
        ),
        Used(
            ("lag",),
            lambda c, run: run.objective.offline is None,
            "nothing is sampled during training (objective.offline is given); leave it out",
        ),
        Used(
            ("search",),
            lambda c, run: run.objective.offline is None or run.objective.offline.sampler == "base",
            "samples are not the policy's (objective.offline.sampler={run.objective.offline.sampler}); "
            "leave it out",
        ),
        Used(
            ("step_metrics",),
            lambda c, run: run.objective.offline is None,
            "nothing is sampled during training (objective.offline is given); leave it out",
        ),
        Used(
            ("prompts_per_step",),
            lambda c, run: not run.objective.uses_references,
            "nothing is sampled (objective.offline.sampler=reference); offline.batch_size sets a step",
            warn=True,
        ),
        Used(
            ("group_size",),
            lambda c, run: not run.objective.uses_references or run.trains_reward_model,
            "nothing is sampled (objective.offline.sampler=reference): each problem has one solution",
            warn=True,
        ),
    )


LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LoraConfig(Section):
    """Low-rank adapters (arXiv:2106.09685), without dropout: sampling and training must use one policy."""

    rank: Positive
    """Rank of each adapter."""
    alpha: Positive
    """Scale of the adapters: alpha / rank."""
    targets: list[LoraTarget] = Field(default=list(get_args(LoraTarget)), min_length=1)
    """Linear layers that get an adapter, in every layer of the model."""


class TrainerConfig(Section):
    """AdamW and its schedule, and how a step fits into memory."""

    steps: Positive
    """Rollout batches to train on; with an offline source of samples, batches to sample."""
    lr: PositiveFloat
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"]
    """Learning rate after warm-up: constant, or falling to a tenth of the peak."""
    warmup_steps: NonNegative
    """Optimiser steps over which the learning rate rises to its peak."""
    beta1: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the gradient's mean."""
    beta2: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the squared gradient's mean."""
    adam_eps: PositiveFloat
    """Added to the square root of the squared gradient's mean."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay."""
    max_grad_norm: PositiveFloat
    """Gradients with a larger norm are scaled down to it; the critic's count too."""
    microbatch_tokens: Positive
    """Most tokens in one forward pass, padding included where attention is padded (everywhere but on a GPU in
    half precision); it does not change the gradient."""
    checkpoint_every: Positive
    """Steps between two checkpoints from which an interrupted run resumes."""
    on_oom: Literal["raise", "halve_microbatch"] = "raise"
    """When memory runs out: stop, or start the step again with half the microbatch, and stay with that."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """AdamW with states of 32 or of 8 bits (of embeddings always 32)."""
    gradient_checkpointing: bool = False
    """Store each layer's input alone and compute the layer again in the backward pass, to save memory."""
    lora: LoraConfig | None = None
    """Train low-rank adapters; null: every weight."""
    processes: Positive | None = None
    """Processes that the run is named for, since sums in another order give other numbers; null: those that
    torchrun or the launcher starts. To resume a run with another number, give the one it was begun with."""
    parallel: Literal["auto", "replicas", "sharded"] = "auto"
    """How several processes share a run: each with all weights and a share of the optimiser's state, which
    takes one reduction an optimiser step, or with shards of the weights too (FSDP2), which are gathered for
    each microbatch; auto: replicas where the memory foretold fits, else sharded."""
    rank_timeout: PositiveFloat = 60.0
    """Seconds without a sign of life from one of several processes, or in one exchange between them, after
    which the others end."""
    engine: Literal["native", "verl"] = "native"
    """Program that trains: this project's own, or verl, over more GPUs than one host has (extra [verl])."""
    verl: VerlConfig = VerlConfig()
    """Machines of engine=verl."""

    checks: ClassVar[tuple[Check[TrainerConfig], ...]] = (
        Check(
            lambda c: c.engine != "verl" and c.verl != VerlConfig(),
            "verl.* is set with engine={c.engine}; set engine=verl, or leave verl out",
        ),
    )

    used: ClassVar[tuple[Used[TrainerConfig], ...]] = (
        Used(
            ("on_oom",),
            lambda c, run: c.engine == "native",
            "verl decides by itself what it does without memory (trainer.engine=verl); leave it out",
        ),
        Used(
            ("steps",),
            lambda c, run: not run.objective.uses_references,
            "objective.offline.epochs and batch_size say how long reference solutions are trained on",
            warn=True,
        ),
        Used(
            ("parallel", "rank_timeout"),
            lambda c, run: (c.processes or 1) > 1,
            "one process has the run; start it with torchrun",
            warn=True,
        ),
    )
