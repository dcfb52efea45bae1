"""AdamW, its learning-rate schedule, and one guarded step of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Schedule = Literal["constant", "linear", "cosine"]


def adamw(
    module: nn.Module,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    others: Sequence[tuple[nn.Module, float]] = (),
    bits: Literal[8, 32] = 32,
    replicas: bool = False,
) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101); norms and biases (one dimension) are not decayed.

    `others` are trained along, each with the module's learning rate times its own factor. Parameters below
    float32 are updated through masters. With `bits` 8 the moments of tensors of 4,096 numbers and more are
    kept in 8 bits, by blocks (arXiv:2110.02861), but those of embeddings in 32, as in its stable embedding
    layer and in transformers' Trainer; raises ValueError where bitsandbytes is not installed.

    With `replicas` the weights are those of one of several processes, whose gradients are summed; masters and
    moments are shared out (`training.replicas`), but those of 8 bits, which every process has whole.
    """
    groups: list[dict[str, Any]] = []
    modules = [(module, 1.0), *others]
    for each, scale in modules:
        wide, narrow = ([p for _, p in found] for found in wide_and_narrow(each))
        groups += [
            {"params": wide, "weight_decay": weight_decay, "lr_scale": scale},
            {"params": narrow, "weight_decay": 0.0, "lr_scale": scale},
        ]
    low = any(p.dtype != torch.float32 for group in groups for p in group["params"])
    if bits == 8:
        embeddings = {m.weight for each, _ in modules for m in each.modules() if isinstance(m, nn.Embedding)}
        for group in groups:
            group["full_moments"] = [i for i, p in enumerate(group["params"]) if p in embeddings]
        eight = _adamw_8bit()
        kind = type("Master8bit", (_Masters, eight), {}) if low else eight
        optimizer: Any = kind(groups, lr=lr, betas=betas, eps=eps)
        optimizer.sums_gradients = replicas
        return cast(torch.optim.Optimizer, optimizer)
    if replicas:
        from harness.training.replicas import ReplicaAdamW

        return ReplicaAdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)
    return (MasterAdamW if low else torch.optim.AdamW)(groups, lr=lr, betas=betas, eps=eps, fused=True)


_Named = list[tuple[str, nn.Parameter]]


def wide_and_narrow(module: nn.Module) -> tuple[_Named, _Named]:
    """A module's trained parameters, in the optimiser's order: those of two dimensions, then the rest."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    return [(n, p) for n, p in named if p.ndim > 1], [(n, p) for n, p in named if p.ndim <= 1]


def _adamw_8bit() -> Any:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ValueError(
            "trainer.optimizer=adamw_8bit: bitsandbytes is not installed; pip install '.[8bit]', "
            "or set trainer.optimizer=adamw"
        ) from None

    class Eight(AdamW8bit):
        """AdamW8bit in which a group's tensors with the numbers `full_moments` have moments of 32 bits.

        bitsandbytes' own list of such tensors is global and goes by id, which a later run's tensors can have.
        A state saved without the numbers goes on as it began, with 8 bits.
        """

        def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(gindex, pindex, group)
            return {**config, "optim_bits": 32} if pindex in group.get("full_moments", ()) else config

    return Eight


class _Masters(torch.optim.Optimizer):
    """An optimiser of float32 master copies of parameters in a lower precision, which are rounded from them.

    An update of 1e-6 of a weight is lost in bfloat16, whose spacing is 2^-8 of it, and adds up in a master.
    Masters are float32 (4 bytes a parameter, beside the moments); float32 copies of the gradients live for a
    step. A float32 parameter is its own master.

    Gradients are summed over microbatches in the parameters' own dtype. Over 23 microbatches of `ladder_s` in
    bfloat16 that moved a step's gradient by 0.4 % of its norm (over 90 by 0.7 %, one rounding by 0.17 %),
    where bfloat16 arithmetic had moved it by 3.5 % from float64's: 3.53 % with exact sums, 3.55 % with these.
    """

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        own = [p for group in groups for p in group["params"]]
        self.masters = {p: p.detach().float().clone() for p in own if p.dtype != torch.float32}
        super().__init__(
            [{**g, "params": [self.masters.get(p, p) for p in g["params"]]} for g in groups], **settings
        )

    @torch.no_grad()
    def widen_gradients(self) -> None:
        """Move the gradients of low-precision parameters to their masters, in float32."""
        live = [(p, master) for p, master in self.masters.items() if p.grad is not None]
        if not live:
            return
        gradients = [torch.empty_like(master) for _, master in live]
        torch._foreach_copy_(gradients, [p.grad for p, _ in live])
        for (p, master), gradient in zip(live, gradients, strict=True):
            p.grad, master.grad = None, gradient

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        self.widen_gradients()
        super().step()
        live = [(p, master) for p, master in self.masters.items() if master.grad is not None]
        if live:
            torch._foreach_copy_([p for p, _ in live], [master for _, master in live])
        for _, master in live:
            master.grad = None

    @torch.no_grad()
    def round_masters(self) -> None:
        """Set every low-precision parameter to its master, rounded."""
        if self.masters:
            torch._foreach_copy_(list(self.masters), list(self.masters.values()))

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for parameter in self.masters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "masters": list(self.masters.values())}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        for (parameter, master), saved in zip(self.masters.items(), rest.pop("masters"), strict=True):
            master.copy_(saved)
            parameter.copy_(master)
        super().load_state_dict(rest)


class MasterAdamW(_Masters, torch.optim.AdamW):
    """AdamW with float32 moments and masters, 12 bytes per parameter."""


def lr_at(
    step: int, *, peak: float, total: int, warmup: int, schedule: Schedule, floor: float = 0.1
) -> float:
    """Learning rate of the optimiser step number `step` (from 0): linear warm-up, then the schedule.

    linear and cosine end at `floor` × peak on the last step.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, total - 1 - warmup)  # 0 at the peak, 1 on the last step
    shape = 1 - progress if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return peak * (floor + (1 - floor) * max(0.0, shape))


def _total_norm(gradients: list[Tensor]) -> Tensor:
    """Global gradient norm over all parameters and shards, accumulated in float32 unless sharded."""
    if any(hasattr(g, "full_tensor") for g in gradients):  # DTensor takes a second to import
        norm: Any = nn.utils.get_total_norm(gradients)
        return norm.full_tensor()
    if all(g.dtype in (torch.float32, torch.float64) for g in gradients):
        return nn.utils.get_total_norm(gradients)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2, torch.float32)))


def guarded_step(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[Tensor] | Sequence[Tensor],
    *,
    lr: float,
    max_grad_norm: float,
) -> tuple[float, bool]:
    """Clip to a global gradient norm and step; a non-finite gradient skips the step instead.

    Returns (gradient norm before clipping, whether the step was taken) and clears the gradients. Those of
    replicas are summed first.
    """
    live, grad_norm = _reduced(optimizer, parameters)
    nn.utils.clip_grads_with_norm_(live, max_grad_norm, grad_norm)
    finite = bool(torch.isfinite(grad_norm))
    if finite:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(grad_norm), finite


def _reduced(
    optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor] | Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """(what the optimiser steps on, each with its whole gradient; their norm)."""
    if (reduce := getattr(optimizer, "reduce_gradients", None)) is not None:
        grad_norm: Tensor = reduce()
        return _with_gradient(optimizer), grad_norm
    live = [p for p in parameters if p.grad is not None]
    if getattr(optimizer, "sums_gradients", False):
        from harness.training.replicas import sum_gradients

        if isinstance(optimizer, _Masters):
            optimizer.widen_gradients()
        live = _with_gradient(optimizer)
        sum_gradients([p.grad for p in live if p.grad is not None])
    grad_norm = _total_norm([p.grad for p in live if p.grad is not None])
    if isinstance(optimizer, _Masters):  # scaled in bfloat16, a gradient would be rounded a second time
        optimizer.widen_gradients()
        live = _with_gradient(optimizer)
    return live, grad_norm


def _with_gradient(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
