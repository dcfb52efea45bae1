"""Running out of memory: name the phase, its tensors and the remedy, or go on with smaller microbatches."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from harness.model.dims import ModelDims, num_parameters
from harness.model.needs import GIB, needs
from harness.model.preflight import remedies
from harness.schema.run_config import RunConfig
from harness.training.distributed import all_gather_list, world_size

T = TypeVar("T")
_MESSAGES = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "Triton Error [CUDA]: out of memory",
)


class OutOfMemory(RuntimeError):
    """Memory ran out; the message, a run's recorded reason, names what the phase needed and the remedy."""


def ran_out(error: RuntimeError) -> bool:
    """True if memory ran out; cuBLAS, Triton and the CPU allocator signal it only in the message."""
    return isinstance(error, torch.OutOfMemoryError | OutOfMemory) or any(s in str(error) for s in _MESSAGES)


@contextmanager
def explained(phase: str, config: RunConfig, dims: ModelDims, dtype: torch.dtype) -> Iterator[None]:
    """Turn running out of memory into an OutOfMemory that names phase, sizes and settings."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, OutOfMemory) or not ran_out(error):
            raise
        said = ". ".join(str(error).split(". ")[:2]).strip(". ")
        raise OutOfMemory(
            f"out of memory in {phase}: {_needs(phase, config, dims, dtype)} ({said})"
        ) from error


def _needs(phase: str, config: RunConfig, dims: ModelDims, dtype: torch.dtype) -> str:
    """The tensors that decide a phase's memory, and the settings that set them."""
    rollout, trainer, size = config.rollout, config.trainer, dtype.itemsize
    weights = f"weights {num_parameters(dims) * size / GIB:.2f} GiB"
    if phase in ("sample", "sync_check", "evaluate"):
        tokens = rollout.max_new_tokens
        if phase == "evaluate":
            tokens = max([config.eval.max_new_tokens, *(b.max_new_tokens for b in config.eval.benchmarks)])
        asked = rollout.prompts_per_step * rollout.group_size if phase == "sample" else rollout.max_batch_size
        rows = min(rollout.max_batch_size, asked)
        cache = 2 * dims.num_layers * rows * dims.num_kv_heads * tokens * dims.head_dim * size / GIB
        return (
            f"{weights}, keys and values of {rows} rows × {tokens} new tokens and their prompts, at least "
            f"[{dims.num_layers}, {rows}, {dims.num_kv_heads}, {tokens}, {dims.head_dim}] twice, "
            f"{cache:.2f} GiB; lower rollout.max_batch_size={rollout.max_batch_size}, or on a GPU lower "
            f"rollout.cache_memory={rollout.cache_memory} with rollout.cache=paged"
        )
    tokens, wide = trainer.microbatch_tokens, max(dims.intermediate_size * 2, dims.hidden_size * 4)
    hidden = dims.num_layers * tokens * wide * size / GIB
    parts = needs(config, dims, "cuda").parts
    halve = "" if trainer.on_oom == "halve_microbatch" else "set trainer.on_oom=halve_microbatch, or "
    return (
        f"{weights}, gradients {parts['gradients'] / GIB:.2f} GiB, the optimiser's moments and masters "
        f"{parts['optimizer'] / GIB:.2f} GiB, and for "
        f"a microbatch of {tokens} tokens activations of {dims.num_layers} layers × [{tokens}, {wide}] and "
        f"more, at least {hidden:.2f} GiB, beside logits of the vocabulary's {dims.vocab_size}; "
        f"{halve}{remedies(config)}"
    )


def halving(
    work: Callable[[RunConfig], T], config: RunConfig, modules: Sequence[nn.Module], *, longest: int
) -> tuple[T, RunConfig]:
    """Call `work(config)`; if memory runs out under `on_oom: halve_microbatch`, again with half the tokens.

    Gradients accumulated so far are dropped first, so that nothing counts twice. Returns the result and the
    config to go on with. A microbatch of one row (`longest` tokens) cannot be halved: the error goes on.
    """
    while True:
        try:
            return work(config), config
        except RuntimeError as error:
            tokens = config.trainer.microbatch_tokens
            if not ran_out(error) or config.trainer.on_oom != "halve_microbatch" or tokens <= longest:
                raise
        for module in modules:
            module.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        config = with_microbatch(config, max(longest, tokens // 2))


@contextmanager
def out_of_memory_together(config: RunConfig) -> Iterator[None]:
    """With `on_oom: halve_microbatch`, let every process run out of memory if one does inside the block.

    Then all begin again with smaller microbatches, and none waits for another in an exchange that follows.
    """
    if world_size() == 1 or config.trainer.on_oom != "halve_microbatch":
        yield
        return
    own: RuntimeError | None = None
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        own = error
    if any(all_gather_list([own is not None])):
        raise own or OutOfMemory("another process ran out of memory")


def with_microbatch(config: RunConfig, tokens: int) -> RunConfig:
    """The config with another `trainer.microbatch_tokens`; itself if it has that already."""
    if config.trainer.microbatch_tokens == tokens:
        return config
    trainer = config.trainer.model_copy(update={"microbatch_tokens": tokens})
    return config.model_copy(update={"trainer": trainer})
