"""Estimate a run's memory from its settings and dimensions, before anything is loaded. Imports no torch.

Peak bytes in training, part by part; on a CPU within a factor of 1.5 of what was measured
(tests/integration/test_preflight.py).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from harness.model.cache_bytes import takes_whole_rows
from harness.model.dims import ModelDims
from harness.model.files.source import shape
from harness.model.machine import gpu_memory, gpu_total, num_processes, num_processes_here, system_memory
from harness.model.needs import (
    GIB,
    LADDER_VOCABULARY,
    LONGEST_PROMPT_TOKENS,
    TYPICAL_PROMPT_TOKENS,
    Needs,
    Placement,
    needs,
)
from harness.schema.run_config import ConfigError, RunConfig

__all__ = [
    "LADDER_VOCABULARY",
    "LONGEST_PROMPT_TOKENS",
    "TYPICAL_PROMPT_TOKENS",
    "Needs",
    "Placement",
    "check_fits",
    "check_packages",
    "describe",
    "device_of",
    "estimate",
    "needs",
    "place",
    "remedies",
    "unable_in_shards",
]
# Of a machine's memory, what replicas may be foretold to take: an estimate is not exact.
ROOM = 0.92


def device_of(config: RunConfig) -> str:
    """cpu or cuda, as the run will choose it, without importing PyTorch."""
    if config.device != "auto":
        return config.device
    return "cuda" if gpu_memory() is not None else "cpu"


def unable_in_shards(config: RunConfig) -> list[str]:
    """Settings of a run that its processes can share as replicas alone."""
    used = {
        "objective.value": config.objective.value is not None,
        "trainer.optimizer=adamw_8bit": config.trainer.optimizer != "adamw",
        "trainer.lora": config.trainer.lora is not None,
        "trainer.on_oom=halve_microbatch": config.trainer.on_oom != "raise",
    }
    return [name for name, is_used in used.items() if is_used]


def place(config: RunConfig, dims: ModelDims, device: str, *, processes: int) -> Placement:
    """The first of these that is foretold to fit into ROOM of a process's memory, else the last.

    Replicas, replicas with the frozen weights in shards, all in shards; of these what `trainer.parallel` and
    the other settings allow. A GPU counts with all its memory, so that like machines choose alike.
    """
    if processes == 1:
        return Placement()
    replicas = [Placement(processes)]
    if config.trainer.lora is None:  # else the base is the policy's own
        replicas.append(Placement(processes, frozen_sharded=True))
    shards = [Placement(processes, sharded=True, frozen_sharded=True)]
    allowed = {"replicas": replicas, "sharded": shards, "auto": replicas + shards}[config.trainer.parallel]
    if unable_in_shards(config) and config.trainer.parallel == "auto":
        allowed = replicas
    here = gpu_total() if device == "cuda" else system_memory()
    if here is None:
        return allowed[0]
    memory = here if device == "cuda" else here / min(processes, num_processes_here())
    fitting = (x for x in allowed if needs(config, dims, device, x).total <= ROOM * memory)
    return next(fitting, allowed[-1])


def _processes(config: RunConfig, *, here: bool) -> int:
    """Processes that share a run: those that are there, or, planned for elsewhere, those it is named for."""
    return num_processes() if num_processes() > 1 or here else config.trainer.processes or 1


def estimate(config: RunConfig, *, here: bool = True) -> tuple[Needs, str, int | None, Placement] | None:
    """(needs, device, free bytes there, placement) of each process; None while dimensions are not known.

    Not `here`: on a node with a GPU unless device=cpu, whose free bytes are not known. Processes on one CPU
    have an even share of its free bytes.
    """
    dims = shape(config.model, vocab_size=LADDER_VOCABULARY)
    if dims is None:
        return None
    device = device_of(config) if here else "cpu" if config.device == "cpu" else "cuda"
    placement = place(config, dims, device, processes=_processes(config, here=here))
    free = (gpu_memory() if device == "cuda" else system_memory()) if here else None
    if free is not None and device == "cpu":
        free //= min(placement.processes, num_processes_here())
    return needs(config, dims, device, placement), device, free, placement


def check_packages(config: RunConfig) -> None:
    """Raises ConfigError for a setting whose package is not installed."""
    if config.trainer.lora is not None and find_spec("peft") is None:
        raise ConfigError("trainer.lora: needs the package peft; pip install peft, or set trainer.lora=null")


def check_fits(config: RunConfig) -> None:
    """Raises ConfigError, with the number and the settings to change, for a run that cannot fit."""
    found = estimate(config)
    if found is None:
        return
    need, device, free, placement = found
    if free is not None and need.total > free:
        largest = sorted(need.parts.items(), key=lambda part: -part[1])[:3]
        raise ConfigError(
            f"model={config.model.name}: {_who(placement)} takes about {need.total / GIB:.1f} GiB and this "
            f"{device} has {free / GIB:.1f} GiB free; most is {_named(dict(largest))}; {remedies(config)}"
        )


def _takes_vllm_share(config: RunConfig) -> bool:
    return config.rollout.engine != "native" and device_of(config) == "cuda"


def _takes_vllm_cache(config: RunConfig) -> bool:
    return config.rollout.engine != "native" and device_of(config) == "cpu"


# When a setting needs less, and its text; those first that change no number of the run.
_REMEDIES: tuple[tuple[Callable[[RunConfig], bool], str], ...] = (
    (lambda c: True, "lower trainer.microbatch_tokens={c.trainer.microbatch_tokens}"),
    (lambda c: not c.trainer.gradient_checkpointing, "set trainer.gradient_checkpointing=true"),
    (lambda c: not c.rollout.release, "rollout.release=true"),
    (lambda c: takes_whole_rows(c, device_of(c)), "rollout.cache=paged"),
    (lambda c: c.rollout.engine == "native", "lower rollout.max_batch_size={c.rollout.max_batch_size}"),
    (_takes_vllm_share, "lower rollout.vllm.memory={c.rollout.vllm.memory}"),
    (_takes_vllm_cache, "export VLLM_CPU_KVCACHE_SPACE= (GiB), lower"),
    (lambda c: c.trainer.optimizer == "adamw", "trainer.optimizer=adamw_8bit"),
    (lambda c: c.dtype == "float32", "dtype=bfloat16"),
    (lambda c: c.trainer.lora is None, "trainer.lora={{rank: 16, alpha: 32}}"),
    (lambda c: True, "or take a smaller model"),
)


def remedies(config: RunConfig) -> str:
    """Name the settings that need less memory."""
    return ", ".join(text.format(c=config) for applies, text in _REMEDIES if applies(config))


def describe(config: RunConfig, *, here: bool = True) -> str:
    """Describe a model's memory in one line of `--plan`."""
    found = estimate(config, here=here)
    if found is None:
        return f"{config.model.name}: memory unknown until its config.json is downloaded"
    need, device, free, placement = found
    each = "" if placement.processes == 1 else f" for {_who(placement)}"
    have = "" if free is None else f" of {free / GIB:.1f} free"
    total = f"{need.total / GIB:.1f} GiB{have} on the {device}{each}"
    return f"{config.model.name}: about {total}: {_named(need.parts)}"


def _who(placement: Placement) -> str:
    """The process whose memory is meant."""
    if placement.processes == 1:
        return "a run"
    return f"each of {placement.processes} processes ({placement.name})"


def _named(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())
