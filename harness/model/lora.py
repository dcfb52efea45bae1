"""LoRA (arXiv:2106.09685) with peft's own modules: y = x Wᵀ + scale (x Aᵀ) Bᵀ, W frozen, A and B trained.

peft puts the adapters into the policy's Linear modules and gives them their start values; the policy joins
projections, so it adds the low-rank path itself (harness/model/policy.py). Samplers and checkpoints get
merged weights, W + scale B A. peft is imported in `inject` and `save_adapter` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.schema.trainer_config import LoraConfig

_NAME = "default"  # peft's name for the only adapter


def inject(policy: nn.Module, settings: LoraConfig, *, seed: int, base: str) -> None:
    """Put fresh adapters (B = 0) into the modules that `settings` names, and freeze everything else.

    `base` is what the adapter's own configuration calls the model.
    """
    from peft import inject_adapter_in_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(_peft_config(settings, base), policy, adapter_name=_NAME)


def _peft_config(settings: LoraConfig, base: str) -> Any:
    from peft import LoraConfig as PeftConfig

    return PeftConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
    )


def has_adapters(policy: nn.Module) -> bool:
    return next(_adapted(policy), None) is not None


def _adapted(policy: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in policy.named_modules() if hasattr(module, "lora_A"))


def _factors(linear: Any) -> tuple[Tensor, Tensor, float] | None:
    """A [r, in], B [out, r] and the scale of a module's adapter, or None if it has none or it is off."""
    # Not hasattr: a module makes an AttributeError for what it lacks, seven times a layer.
    if "lora_A" not in linear._modules or getattr(linear, "adapter_is_off", False):
        return None
    return linear.lora_A[_NAME].weight, linear.lora_B[_NAME].weight, linear.scaling[_NAME]


def low_rank(linear: nn.Module, x: Tensor, rows: Callable[[Tensor], Tensor] | None = None) -> Tensor | None:
    """scale (x Aᵀ) Bᵀ, [N, out], or None without an adapter; `rows` reorders the outputs as it does W's."""
    found = _factors(linear)
    if found is None:
        return None
    a, b, scale = found
    return F.linear(F.linear(x, a), b if rows is None else rows(b)) * scale


def joined_low_rank(parts: list[tuple[Any, Callable[[Tensor], Tensor] | None]], x: Tensor) -> Tensor | None:
    """The low-rank paths of projections that are joined, side by side; 0 where one has no adapter."""
    found = [low_rank(linear, x, rows) for linear, rows in parts]
    if all(path is None for path in found):
        return None
    wide = [
        x.new_zeros(x.shape[0], linear.weight.shape[0]) if path is None else path
        for (linear, _), path in zip(parts, found, strict=True)
    ]
    return torch.cat(wide, dim=-1)


def plus(x: Tensor, path: Tensor | None) -> Tensor:
    return x if path is None else x + path


def merged(linear: Any) -> Tensor:
    """Add the adapter to its weight, rounded once to its dtype; the weight itself without an adapter."""
    weight: Tensor = linear.weight
    found = _factors(linear)
    if found is None:
        return weight
    a, b, scale = found
    return (weight.float() + scale * (b.float() @ a.float())).to(weight.dtype)


def hub_state(policy: nn.Module) -> dict[str, Tensor]:
    """The policy's state dict under the hub's names, adapters merged."""
    linear = {f"{name}.base_layer.weight": module for name, module in _adapted(policy)}
    state: dict[str, Tensor] = {}
    for name, tensor in policy.state_dict().items():
        if ".lora_" not in name:
            value = merged(linear[name]).detach() if name in linear else tensor
            state[name.replace(".base_layer.", ".")] = value
    return state


def save_adapter(policy: nn.Module, settings: LoraConfig, folder: Path, *, base: str) -> None:
    """The adapter in peft's format: `PeftModel.from_pretrained(model, folder)` loads it on the hub model."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _peft_config(settings, base)
    config.inference_mode = True
    config.save_pretrained(str(folder))
    weights = {
        f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": tensor.detach().cpu().contiguous()
        for name, tensor in policy.state_dict().items()
        if ".lora_" in name
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@contextmanager
def without_adapters(policy: nn.Module) -> Iterator[None]:
    """Switch the adapters off inside the block: the policy computes as its base does."""
    found = [module for _, module in _adapted(policy)]
    for module in found:
        module.adapter_is_off = True
    try:
        yield
    finally:
        for module in found:
            module.adapter_is_off = False


class WithoutAdapters:
    """A policy's base: the same weights with the adapters off, so no second copy is loaded.

    It has what reading a policy takes: `hidden`, `head_weight`, `dims`, and the rest of the policy's.
    """

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def hidden(self, *args: Any, **kwargs: Any) -> Tensor:
        with without_adapters(self._policy):
            found: Tensor = self._policy.hidden(*args, **kwargs)
        return found
