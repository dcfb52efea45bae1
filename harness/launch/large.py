"""How long a run on verl takes at stated rates, phase by phase. Computed, not measured. Imports no torch.

sampling   a decoding step reads a sampler's weights and the keys and values of all its outputs; there are as
           many steps as the longest output has tokens, more where the cache holds few outputs at once
scoring    a forward pass for the old logprobs, one more for a reference
training   three forward passes an epoch, four where layers are computed again
handing    the weights to the samplers, after each step
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.launch.workload import TYPICAL_LENGTH
from harness.model.dims import ModelDims, forward_flops, num_parameters
from harness.model.preflight import LONGEST_PROMPT_TOKENS
from harness.model.verl_memory import cache_bytes, rank_needs
from harness.schema.run_config import RunConfig


@dataclass(frozen=True)
class Rates:
    """What one GPU does in a second; `train`, `score` and `decode` are the shares of its peaks reached."""

    name: str
    flops: float
    bandwidth: float
    train: float
    score: float
    decode: float
    transfer: float
    """Bytes of weights that a sampler takes over a second, or that are saved."""
    decode_step: float
    """Seconds of a decoding step beside what it reads."""
    step: float
    """Seconds of a step in none of the phases."""
    start: float
    """Seconds until the first step: Ray, loading, vLLM's compilation."""


H100 = Rates("H100", 989e12, 3.35e12, 0.35, 0.45, 0.6, 10e9, 3e-3, 10.0, 300.0)


@dataclass(frozen=True)
class Cost:
    """A run's expected seconds: each phase of a step, the whole training, evaluation on one GPU."""

    phases: dict[str, float]
    training: float
    evaluation: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.phases.values())

    @property
    def seconds(self) -> float:
        """Seconds of the run without its base."""
        return self.training + self.evaluation


def run_cost(
    config: RunConfig, dims: ModelDims, *, gpu_bytes: float, evaluated: float = 0.0, rates: Rates = H100
) -> Cost:
    """The cost of a run on trainer.verl's GPUs; `evaluated` are the tokens that its evaluations sample."""
    phases = step_seconds(config, dims, gpu_bytes=gpu_bytes, rates=rates)
    steps, shards = config.trainer.steps, config.trainer.verl.num_gpus
    saves = -(-steps // config.trainer.checkpoint_every)
    saving = saves * 16.0 * num_parameters(dims) / shards / rates.transfer
    training = rates.start + steps * sum(phases.values()) + saving
    return Cost(phases, training, evaluated * _token_seconds(config, dims, rates))


def step_seconds(config: RunConfig, dims: ModelDims, *, gpu_bytes: float, rates: Rates) -> dict[str, float]:
    """Seconds of one step by phase."""
    machines, objective = config.trainer.verl, config.objective
    rows = config.rollout.prompts_per_step * config.rollout.group_size
    mean = TYPICAL_LENGTH * config.rollout.max_new_tokens
    length = LONGEST_PROMPT_TOKENS + mean
    passed = rows * forward_flops(dims, tokens=length, predicted=mean, pairs=length * (length + 1) / 2)
    peak = machines.num_gpus * rates.flops
    passes = (3 + config.trainer.gradient_checkpointing) * objective.updates.epochs
    return {
        "sampling": _sampling(config, dims, rows, gpu_bytes, rates),
        "scoring": (1 + objective.kl.uses_reference) * passed / (peak * rates.score),
        "training": passes * passed / (peak * rates.train),
        "handing over": 2.0 * num_parameters(dims) / rates.transfer,
        "other": rates.step,
    }


def _sampling(config: RunConfig, dims: ModelDims, rows: int, gpu_bytes: float, rates: Rates) -> float:
    """Seconds until the last output of a step ends, which is as long as is allowed."""
    machines, longest = config.trainer.verl, config.rollout.max_new_tokens
    mean = TYPICAL_LENGTH * longest
    each = rows * machines.tensor_parallel / machines.num_gpus  # outputs of a sampler
    context = LONGEST_PROMPT_TOKENS + mean
    fit = rank_needs(config, dims, gpu_bytes).cache_tokens / context
    at_once = max(1.0, min(each, config.rollout.max_batch_size, fit))
    steps = max(float(longest), each * mean / at_once)
    active = each * mean / steps
    read = 2.0 * num_parameters(dims) + active * cache_bytes(dims) * (LONGEST_PROMPT_TOKENS + mean / 2)
    by_memory = read / (machines.tensor_parallel * rates.bandwidth * rates.decode)
    by_compute = (
        active
        * forward_flops(dims, tokens=1, predicted=1, pairs=context)
        / (machines.tensor_parallel * rates.flops * rates.score)
    )
    prefill = (
        each
        * forward_flops(dims, tokens=LONGEST_PROMPT_TOKENS, predicted=0, pairs=0)
        / (machines.tensor_parallel * rates.flops * rates.score)
    )
    return prefill / config.rollout.group_size + steps * (max(by_memory, by_compute) + rates.decode_step)


def _token_seconds(config: RunConfig, dims: ModelDims, rates: Rates) -> float:
    """Seconds of a sampled token in evaluation, on one GPU with `rollout.max_batch_size` outputs at once."""
    rows = config.rollout.max_batch_size
    read = 2.0 * num_parameters(dims) + rows * cache_bytes(dims) * TYPICAL_LENGTH * config.eval.max_new_tokens
    return (read / (rates.bandwidth * rates.decode) + rates.decode_step) / rows
