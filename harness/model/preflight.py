"""Will a run fit? Bytes of each part from settings and dimensions alone, before anything is loaded.

An estimate: what training holds at its peak, within a factor of 1.5 of what was measured on a CPU
(tests/integration/test_preflight.py). Imports no torch.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from harness.model.dims import ModelDims, num_parameters
from harness.model.files.source import shape
from harness.schema.run_config import ConfigError, RunConfig

PROMPT_TOKENS = 256  # of the longest prompt, which is not known yet
LADDER_VOCABULARY = 1000
_GIB = 2**30
_RUNTIME = {"cpu": 0.4 * _GIB, "cuda": 0.8 * _GIB}  # PyTorch itself; CUDA's context and kernels
_LOGITS = 2**24, 256, 12.0  # on a CPU, a chunk: least elements and tokens; bytes of what is made of each
_KEPT, _CHUNK = 5 * 2**29, 2**30  # on a GPU, elements: a microbatch's logits at most, else a chunk of them
_VLLM_CPU = 0.4 * _GIB  # its packages and buffers, measured with a tiny model; its cache is resident at once


@dataclass(frozen=True)
class Needs:
    """Bytes by part, and the peak: all of `always`, with the larger of what sampling and training add."""

    always: dict[str, float]
    sampling: dict[str, float]
    training: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.always.values()) + max(sum(self.sampling.values()), sum(self.training.values()))

    @property
    def parts(self) -> dict[str, float]:
        return {**self.always, **self.sampling, **self.training}


def needs(config: RunConfig, dims: ModelDims, device: str) -> Needs:
    """What a run holds. `device` cpu or cuda; vLLM's share is of the GPU that is here, or of 80 GiB."""
    size, whole = (4 if config.dtype == "float32" else 2), float(num_parameters(dims))
    trained = _trained(config, dims)
    always = {"PyTorch": _RUNTIME[device], "policy": whole * size}
    moments = 8 if config.trainer.optimizer == "adamw" else 2
    always |= {"optimizer": trained * (moments + (4 if size < 4 else 0))}
    if config.trainer.lora is None:
        always["base"] = whole * size  # the reference, and what is kept is measured against
    if config.objective.kl.refresh_every is not None or config.objective.kl.reference == "teacher":
        always["another reference"] = whole * size
    value = config.objective.value
    if value is not None and not value.shared_trunk:
        always["value model"] = whole * (2 * size + 8 + (4 if size < 4 else 0))
    learned = (config.objective.reward_model, config.objective.process_reward_model)
    always |= {"reward models": 16 * whole} if any(x is not None for x in learned) else {}
    joined = _joined(dims) * size
    engine_always, sampling = _engine(config, dims, device, size)
    always |= engine_always
    training = {
        "gradients": trained * size * (2 if size < 4 else 1),
        "joined weights and gradients": joined * (2 if config.trainer.lora is None else 1),
        "activations": _activations(config, dims, size),
        "logits": _logits(config, dims, device, size) + dims.vocab_size * dims.hidden_size * 4.0,
    }
    return Needs(always, sampling, training)


def _engine(
    config: RunConfig, dims: ModelDims, device: str, size: int
) -> tuple[dict[str, float], dict[str, float]]:
    """What the sampler holds always, and what only while it samples."""
    rollout, whole = config.rollout, float(num_parameters(dims))
    if rollout.engine == "native":
        sampling = {
            "sampler's joined weights": _joined(dims) * size,
            "logits of a sampled token": _rows(config) * dims.vocab_size * 12.0,
        }
        cache = {"keys and values": _cache(config, dims, size)}
        return ({}, sampling | cache) if rollout.release else (cache, sampling)
    if device == "cuda":
        share = {"vLLM's share": rollout.vllm.memory * (gpu_total() or 80 * _GIB)}
        return ({}, share) if rollout.release else (share, {})
    cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    size = {"auto": size, "float32": 4, "bfloat16": 2}[rollout.vllm.dtype]
    return {
        "vLLM": _VLLM_CPU,
        "vLLM's weights": whole * size,
        "vLLM's keys and values": cache_gib * _GIB,
    }, {}


def _trained(config: RunConfig, dims: ModelDims) -> float:
    lora = config.trainer.lora
    if lora is None:
        return float(num_parameters(dims))
    query, key, inner = (
        dims.num_heads * dims.head_dim,
        dims.num_kv_heads * dims.head_dim,
        dims.intermediate_size,
    )
    ends = {"q_proj": query, "k_proj": key, "v_proj": key, "gate_proj": inner, "up_proj": inner}
    both = {name: dims.hidden_size + end for name, end in ends.items()}
    both |= {"o_proj": query + dims.hidden_size, "down_proj": inner + dims.hidden_size}
    return float(lora.rank * dims.num_layers * sum(both[name] for name in lora.targets))


def _joined(dims: ModelDims) -> float:
    """Elements of the projections that are joined: queries, keys and values; gate and up."""
    heads = dims.num_heads + 2 * dims.num_kv_heads
    return float(dims.num_layers * dims.hidden_size * (heads * dims.head_dim + 2 * dims.intermediate_size))


def _rows(config: RunConfig) -> int:
    rollout = config.rollout
    return min(rollout.max_batch_size, rollout.prompts_per_step * rollout.group_size)


def _cache(config: RunConfig, dims: ModelDims, size: int) -> float:
    tokens = PROMPT_TOKENS + config.rollout.max_new_tokens
    if _rows(config) < config.rollout.prompts_per_step * config.rollout.group_size:
        tokens += max(64, tokens // 2)  # rows are refilled
    return 2.0 * dims.num_layers * _rows(config) * dims.num_kv_heads * dims.head_dim * tokens * size


def _logits(config: RunConfig, dims: ModelDims, device: str, size: int) -> float:
    """Of training (network.head): a GPU keeps a microbatch's for its backward pass if they are few enough."""
    if device == "cpu":
        least, tokens, size_of_all = _LOGITS
        return size_of_all * max(least, tokens * dims.vocab_size)
    elements = _microbatch(config) * dims.vocab_size
    return size * (elements if elements <= _KEPT else _CHUNK)


def _microbatch(config: RunConfig) -> float:
    """Tokens of the largest one."""
    longest = PROMPT_TOKENS + config.rollout.max_new_tokens
    return float(max(config.trainer.microbatch_tokens, longest))


def _activations(config: RunConfig, dims: ModelDims, size: int) -> float:
    """What a microbatch keeps for its backward pass: of a layer, its two norms' inputs and outputs, queries,
    keys, values, attention's output twice, gate and up, and their product."""
    tokens = _microbatch(config)
    attention = (3 * dims.num_heads + 2 * dims.num_kv_heads) * dims.head_dim
    layer = 4 * dims.hidden_size + attention + 3 * dims.intermediate_size
    backward = 2 * dims.hidden_size + attention + 4 * dims.intermediate_size  # of the layer at work
    if config.trainer.gradient_checkpointing:
        return tokens * size * (dims.num_layers * dims.hidden_size + layer + backward)
    return tokens * size * (dims.num_layers * layer + backward)


def device_of(config: RunConfig) -> str:
    """cpu or cuda, as the run will choose it, without importing PyTorch."""
    if config.device != "auto":
        return config.device
    return "cuda" if gpu_memory() is not None else "cpu"


def gpu_memory() -> int | None:
    """Free bytes of the first GPU, as its driver says when first asked; None without one."""
    return _gpu("memory.free")


def gpu_total() -> int | None:
    """All bytes of the first GPU; None without one."""
    return _gpu("memory.total")


@lru_cache(maxsize=2)
def _gpu(field: str) -> int | None:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return int(found[0]) * 2**20 if found and found[0].isdigit() else None


def system_memory() -> int | None:
    """Bytes that a process may still have: the system's, or less where a control group says so."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def estimate(config: RunConfig) -> tuple[Needs, str, int | None] | None:
    """(needs, device, free bytes there) of a run; None while its dimensions are not known."""
    dims = shape(config.model, vocab_size=LADDER_VOCABULARY)
    if dims is None:
        return None
    device = device_of(config)
    return needs(config, dims, device), device, gpu_memory() if device == "cuda" else system_memory()


def check_packages(config: RunConfig) -> None:
    """Raises ConfigError for a setting whose package is not installed."""
    if config.trainer.lora is not None and find_spec("peft") is None:
        raise ConfigError("trainer.lora: needs the package peft; pip install peft, or set trainer.lora=null")


def check_fits(config: RunConfig) -> None:
    """Raises ConfigError, with the number and the settings to change, for a run that cannot fit."""
    found = estimate(config)
    if found is None:
        return
    need, device, free = found
    if free is not None and need.total > free:
        largest = sorted(need.parts.items(), key=lambda part: -part[1])[:3]
        raise ConfigError(
            f"model={config.model.name}: a run takes about {need.total / _GIB:.1f} GiB and this {device} has "
            f"{free / _GIB:.1f} GiB free; most is {_named(dict(largest))}; {remedies(config)}"
        )


def remedies(config: RunConfig) -> str:
    """The settings that need less, those first that change no number of the run."""
    found = [f"lower trainer.microbatch_tokens={config.trainer.microbatch_tokens}"]
    if not config.trainer.gradient_checkpointing:
        found.append("set trainer.gradient_checkpointing=true")
    if not config.rollout.release:
        found.append("rollout.release=true")
    if config.rollout.engine == "native":
        found.append(f"lower rollout.max_batch_size={config.rollout.max_batch_size}")
    elif device_of(config) == "cuda":
        found.append(f"lower rollout.vllm.memory={config.rollout.vllm.memory}")
    else:
        found.append("export VLLM_CPU_KVCACHE_SPACE= (GiB), lower")
    found += ["trainer.optimizer=adamw_8bit"] if config.trainer.optimizer == "adamw" else []
    found += ["dtype=bfloat16"] if config.dtype == "float32" else []
    found += ["trainer.lora={rank: 16, alpha: 32}"] if config.trainer.lora is None else []
    return ", ".join([*found, "or take a smaller model"])


def describe(config: RunConfig) -> str:
    """One line of `--plan`."""
    found = estimate(config)
    if found is None:
        return f"{config.model.name}: memory unknown until its config.json is downloaded"
    need, device, free = found
    have = "" if free is None else f" of {free / _GIB:.1f} free"
    return (
        f"{config.model.name}: about {need.total / _GIB:.1f} GiB{have} on the {device}: {_named(need.parts)}"
    )


def _named(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value / _GIB:.2f}" for name, value in parts.items())
