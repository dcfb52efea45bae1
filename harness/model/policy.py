"""The transformer: one implementation for training and, through its fused weights, for sampling.

Parameters carry the hub's names, so a state dict is a checkpoint. Token-wise work runs on the N valid tokens
of a padded batch; attention alone sees [B, T]. Right padding with a causal mask needs no other mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.model.attention import attend
from harness.model.dims import ModelDims, flops_per_token, num_non_embedding_parameters, num_parameters
from harness.model.fused import residual_norm, rms_norm, rotate, spread, swiglu, unpack, widened
from harness.model.head import chunked_logprobs
from harness.model.lora import low_rank, plus
from harness.model.projections import MLP, Attention, Norm
from harness.model.rows import Layout, Rows, pack_rows
from harness.model.wide import head_logits

__all__ = [
    "ModelDims",
    "Policy",
    "flops_per_token",
    "init_policy",
    "lm_loss",
    "num_non_embedding_parameters",
    "num_parameters",
    "states_before",
    "token_logprobs",
]


Projections = tuple[Tensor, Tensor | None, Tensor]


class Layer(nn.Module):
    """One pre-norm block; called as a module, so that what wraps modules (FSDP) sees it."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.dims = dims
        self.input_layernorm = Norm(dims.hidden_size)
        self.self_attn = Attention(dims)
        self.post_attention_layernorm = Norm(dims.hidden_size)
        self.mlp = MLP(dims)
        self.joined: Projections | None = None
        self.exact = False

    def projections(self) -> Projections:
        """Weight and bias of queries, keys and values in one, and the weight of gate and up in one."""
        return (*self.self_attn.fused_qkv(), self.mlp.fused_gate_up())

    def forward(self, x: Tensor, rotations: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Packed tokens x [N, D] -> (x [N, D], keys and values in one [N, 2 KV, Dh])."""
        dims, eps = self.dims, self.dims.rms_norm_eps
        heads, kv_heads = dims.num_heads, dims.num_kv_heads
        weight, bias, gate_up = self.joined or self.projections()
        if self.exact:
            from harness.model import exact

            return exact.layer(self, weight, bias, gate_up, x, rotations, layout)
        x, normed = residual_norm(x, self.input_layernorm.weight, eps)
        qkv = plus(F.linear(normed, weight, bias), self.self_attn.low_rank(normed))  # [N, (H + 2 KV) Dh]
        qkv = qkv.view(-1, heads + 2 * kv_heads, dims.head_dim)
        scale = self.self_attn.head_norm()
        if scale is not None:
            qk, values = qkv.split((heads + kv_heads, kv_heads), dim=1)
            qkv = torch.cat((rms_norm(qk, scale, eps), values), dim=1)
        queries, keys_values = rotate(qkv, rotations, heads)
        attended = attend(queries, keys_values, layout)  # [N, H Dh]
        output, down = self.self_attn.o_proj, self.mlp.down_proj
        x = plus(torch.addmm(x, attended, output.weight.t()), low_rank(output, attended))
        x, normed = residual_norm(x, self.post_attention_layernorm.weight, eps)
        inner = swiglu(plus(F.linear(normed, gate_up), self.mlp.low_rank(normed)))
        x = plus(torch.addmm(x, inner, down.weight.t()), low_rank(down, inner))
        return x, keys_values


class Decoder(nn.Module):
    """Embedding, layers and final norm: what the hub names with the prefix `model.`."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(dims.vocab_size, dims.hidden_size)
        self.layers = nn.ModuleList(Layer(dims) for _ in range(dims.num_layers))
        self.norm = Norm(dims.hidden_size)


class Policy(nn.Module):
    """A decoder-only transformer. Uninitialised: `init_policy` or `load_pretrained` fills it.

    `recompute_layers` trades a second forward pass for the layers' activations (gradient checkpointing).
    `exact` computes every token as if it were alone (`harness.model.exact`).
    `fp32_head` leaves the product of states and output head in float32, in whatever precision they are kept.
    """

    def __init__(self, dims: ModelDims, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        self.dims = dims
        self.recompute_layers = False
        self.fp32_head = False
        with torch.device("meta"):
            self.model = Decoder(dims)
            self.lm_head = None
            if not dims.tie_word_embeddings:
                self.lm_head = nn.Linear(dims.hidden_size, dims.vocab_size, bias=False)
        self.to(dtype).to_empty(device=device)
        self._rotations: Tensor | None = None

    @property
    def exact(self) -> bool:
        """Whether a token's logprobs are the same bits in any batch, on a GPU."""
        return bool(self.model.layers[0].exact)

    @exact.setter
    def exact(self, on: bool) -> None:
        if on and self.dims.architecture == "qwen3":
            raise ValueError("rollout.exact is true; heads of qwen3 have norms of their own: set it to false")
        layer: Any
        for layer in self.model.layers:
            layer.exact = on

    @property
    def head_weight(self) -> Tensor:
        """[V, D]: the output head's, or the embedding's where they are tied."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def head_factors(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states [n, D] and the head's weight [V, D], whose product are the logits.

        With `fp32_head` in float32, but on a GPU, which multiplies them as they are (`harness.model.wide`).
        """
        weight = self.head_weight
        if self.fp32_head and not states.is_cuda:
            return widened(states), widened(weight)
        return states, weight

    def logits(self, states: Tensor) -> Tensor:
        """Logits [n, V] of hidden states [n, D] after the final norm."""
        return head_logits(*self.head_factors(states), fp32=self.fp32_head, exact=self.exact)

    def rotations(self, num_positions: int) -> Tensor:
        """exp(i position ω), complex64 [at least num_positions, Dh/2]; RoPE, arXiv:2104.09864."""
        device = self.head_weight.device
        have = self._rotations
        if have is None or have.shape[0] < num_positions or have.device != device:
            size = max(256, 1 << (num_positions - 1).bit_length())
            # A tensor made under inference_mode could not be saved for a later backward pass.
            with torch.inference_mode(False):
                angles = torch.outer(torch.arange(size, dtype=torch.float32), _frequencies(self.dims))
                have = torch.polar(torch.ones_like(angles), angles).to(device)
            self._rotations = have
        return have

    def hidden(self, rows: Rows, kv_out: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Last hidden states after the final norm, [N, D], of the N tokens of `rows`.

        Each layer's keys and values [N, KV, Dh] are appended to `kv_out` when it is given.
        """
        _, width = rows.shape
        rotations = self.rotations(width)[rows.positions].unsqueeze(1)  # [N, 1, Dh/2]
        x = F.embedding(rows.tokens, self.model.embed_tokens.weight)  # [N, D]
        for layer in self.model.layers:
            args = (x, rotations, rows.layout)
            if self.recompute_layers and torch.is_grad_enabled():
                x, keys_values = checkpoint(layer, *args, use_reentrant=False)
            else:
                x, keys_values = layer(*args)
            if kv_out is not None:
                keys, values = keys_values.chunk(2, dim=1)
                kv_out.append((keys, values))
        if self.exact:  # by the kernel that the layers' norms have
            return residual_norm(x, self.model.norm.weight, self.dims.rms_norm_eps)[1]
        return rms_norm(x, self.model.norm.weight, self.dims.rms_norm_eps)


@contextmanager
def joined(policy: Policy) -> Iterator[None]:
    """Join each layer's projections once for many forward passes; their gradients are split once, at the end.

    Within it, weights must not change. Where layers are sharded they can be joined in their own forward pass
    alone, and nothing is done here.
    """
    first: Any = policy.model.layers[0]
    if hasattr(first.input_layernorm.weight, "device_mesh"):
        yield
        return
    made: list[tuple[Tensor, Tensor]] = []  # (joined, with its history; what the passes read)
    layer: Any
    for layer in policy.model.layers:
        parts = layer.projections()
        leaves = [None if x is None else x.detach().requires_grad_(x.requires_grad) for x in parts]
        layer.joined = tuple(leaves)
        made += [(x, y) for x, y in zip(parts, leaves, strict=True) if x is not None and y is not None]
    try:
        yield
        trained = [(x, leaf.grad) for x, leaf in made if leaf.grad is not None]
        if trained:
            torch.autograd.backward([x for x, _ in trained], [grad for _, grad in trained])
    finally:
        for layer in policy.model.layers:
            layer.joined = None


def _frequencies(dims: ModelDims) -> Tensor:
    """Rotary frequencies ω [Dh/2], radians a token, float32, with Llama 3.1's scaling if dims have it."""
    exponent = torch.arange(0, dims.head_dim, 2, dtype=torch.int64).float() / dims.head_dim
    omega = 1.0 / (dims.rope_theta**exponent)
    scaling = dims.rope_scaling
    if scaling is None:
        return omega
    turns = scaling.original_max_position_embeddings * omega / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)  # 1: short wavelength, kept; 0: long, slowed
    return keep * omega + (1.0 - keep) * omega / scaling.factor


def init_policy(dims: ModelDims, seed: int) -> Policy:
    """A fresh float32 policy on the CPU: normal(0, sqrt(2 / (5 D))), into the residual / sqrt(2 L) (GPT-2).

    The width's own standard deviation (small init, arXiv:1910.05895) matters below D = 1000, where GPT-2's
    0.02 leaves training on a plateau; at D = 1000 they agree. Norm scales are 1, biases 0. The numbers depend
    on `seed` and the parameters' order alone.
    """
    policy = Policy(dims, dtype=torch.float32, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    plain = math.sqrt(2 / (5 * dims.hidden_size))
    residual = plain / math.sqrt(2 * dims.num_layers)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            else:
                std = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else plain
                parameter.normal_(0.0, std, generator=generator)
    return policy


def states_before(policy: Policy, rows: Rows) -> Tensor:
    """Hidden states [M, D] from which the M wanted tokens of `rows` are predicted."""
    return spread(policy.hidden(rows), rows.before)


def token_logprobs(
    policy: Policy,
    rows: Rows,
    *,
    temperature: float,
    with_entropy: bool = False,
    chunk_tokens: int | None = None,
    states_out: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """log p(token t | tokens before t) of logits / temperature, nats, float32 at least, [B, T].

    Exactly 0.0 where a token is not wanted, at position 0 (nothing precedes it) and in padding. Logits are
    computed for the M wanted ones, `chunk_tokens` at a time (None: by the vocabulary's size), and again in
    the backward pass, so no [T, V] tensor outlives a chunk. The second result is the entropy [B, T] of the
    same distributions, without gradient, or None. The states [M, D] of `states_before` are appended to
    `states_out` when it is given. Raises ValueError unless temperature > 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; logprobs need a positive one (greedy uses 1)")
    states = states_before(policy, rows)
    if states_out is not None:
        states_out.append(states)
    flat, entropy = chunked_logprobs(
        *policy.head_factors(states),
        rows.targets,
        temperature,
        with_entropy=with_entropy,
        chunk_tokens=chunk_tokens,
        fp32=policy.fp32_head,
        exact=policy.exact,
    )
    logprobs = unpack(flat, rows.at, *rows.shape)
    return logprobs, unpack(entropy, rows.at, *rows.shape) if entropy is not None else None


def lm_loss(policy: Policy, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Negative log-likelihood of every token but each row's first, [B, T] nats, unreduced, 0.0 in padding."""
    everything = torch.ones_like(input_ids, dtype=torch.bool)
    rows = pack_rows(input_ids, lengths, everything, device=policy.head_weight.device)
    return -token_logprobs(policy, rows, temperature=1.0)[0]
