"""Decoding over slots on a GPU: static buffers, fused weights, and one CUDA graph a number of rows.

A slot holds one sequence from column 0 on; each row of a step names its slot, and the last slot is a dummy
that is always done and pads a step to the size of its graph.
"""

from __future__ import annotations

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.model.kernels import swiglu
from harness.model.policy import Policy
from harness.rollout.decode import FusedLayer, fuse
from harness.rollout.gpu import kernels
from harness.rollout.gpu.rope_kernels import rope_into_cache
from harness.rollout.gpu.sampling import draw
from harness.rollout.sampling import sample
from harness.types import SamplingParams

_PROGRAMS_WANTED = 264  # two a multiprocessor: fewer rows than that share their keys among several
_MAX_SPLITS = 16


def graph_rows(num_rows: int, capacity: int) -> int:
    """The graph that `num_rows` rows use: a power of two from 8, its three quarters, or `capacity`."""
    size = 8
    while size < num_rows:
        if size * 3 // 2 >= num_rows and size >= 32:
            size = size * 3 // 2
            break
        size *= 2
    return min(size, max(capacity, 1))


class SlotDecoder:
    """Everything a decoding step reads and writes, for `num_slots` sequences of at most `columns` tokens.

    keys, values [L, slots + 1, KV, columns, Dh]; per slot: tokens, positions, num_made, limits, done,
    out_tokens and out_logprobs [slots + 1, max_new], uniforms [slots + 1, max_new]; is_eos [V].
    """

    def __init__(self, policy: Policy, *, num_slots: int, columns: int, max_new_tokens: int) -> None:
        dims, weight = policy.dims, policy.head_weight
        self.policy, self.device = policy, weight.device
        self.num_slots, self.columns, self.max_new_tokens = num_slots, columns, max_new_tokens
        shape = self.cache_shape()
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=self.device)
        self.values = torch.zeros_like(self.keys)
        self.row_slot = self._integers(num_slots + 1).fill_(num_slots)
        self.tokens, self.positions = self._integers(num_slots + 1), self._integers(num_slots + 1)
        self.num_made, self.limits = self._integers(num_slots + 1), self._integers(num_slots + 1)
        self.done = torch.ones(num_slots + 1, dtype=torch.int8, device=self.device)
        self.is_eos = torch.zeros(dims.vocab_size, dtype=torch.int8, device=self.device)
        self.out_tokens = torch.zeros(num_slots + 1, max_new_tokens, dtype=torch.long, device=self.device)
        self.out_logprobs = torch.zeros(num_slots + 1, max_new_tokens, device=self.device)
        self.uniforms = torch.zeros(num_slots + 1, max_new_tokens, device=self.device)
        self.temperature, self.top_p = torch.ones(1, device=self.device), torch.ones(1, device=self.device)
        self.rotations = torch.view_as_real(policy.rotations(columns))  # [columns, Dh/2, 2]
        self.layers: list[FusedLayer] = fuse(policy)
        self._head = (weight.data_ptr(), policy.fp32_head)
        self._graphs: dict[tuple[int, int, SamplingParams], torch.cuda.CUDAGraph] = {}

    def cache_shape(self) -> tuple[int, ...]:
        """Shape of the keys, and of the values."""
        dims = self.policy.dims
        return (dims.num_layers, self.num_slots + 1, dims.num_kv_heads, self.columns, dims.head_dim)

    def _integers(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.long, device=self.device)

    def fits(self, num_slots: int, columns: int, max_new_tokens: int) -> bool:
        """Whether the buffers serve such a call, and the graphs read the head where and as it is."""
        mine = (self.num_slots, self.columns, self.max_new_tokens)
        large = all(a >= b for a, b in zip(mine, (num_slots, columns, max_new_tokens), strict=True))
        return large and (self.policy.head_weight.data_ptr(), self.policy.fp32_head) == self._head

    def refresh(self) -> None:
        """Take the policy's weights as they are now into the joined copies, in place: graphs stay valid."""
        for have, new in zip(self.layers, fuse(self.policy), strict=True):
            for field in fields(have):
                target, source = getattr(have, field.name), getattr(new, field.name)
                if target is not None and target.data_ptr() != source.data_ptr():
                    target.copy_(source)

    def step(self, rows: int, params: SamplingParams) -> None:
        """One token for each of the first `rows` entries of `row_slot`; a graph replay on a GPU."""
        if self.device.type != "cuda":
            self._step(rows, params)
            return
        key = self.graph_key(rows, params)
        if key not in self._graphs:
            self._graphs[key] = self._capture(rows, params)
        self._graphs[key].replay()

    def graph_key(self, rows: int, params: SamplingParams) -> tuple[int, int, SamplingParams]:
        """What a graph fixes, beside the buffers: rows, how their keys are shared out, and the sampling."""
        return rows, 0, _sampling(params)

    def _capture(self, rows: int, params: SamplingParams) -> torch.cuda.CUDAGraph:
        """Record a step. The eager one before it compiles kernels; on dummy rows it changes nothing."""
        kept = self.row_slot.clone()
        self.row_slot.fill_(self.num_slots)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step(rows, params)
        torch.cuda.current_stream().wait_stream(stream)
        self.row_slot.copy_(kept)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool):
            self._step(rows, params)
        return graph

    def _step(self, rows: int, params: SamplingParams) -> None:
        row_slot = self.row_slot[:rows]
        logits = self._logits(row_slot)
        uniforms = self.uniforms[row_slot, self.num_made[row_slot].clamp(max=self.max_new_tokens - 1)]
        self.take(row_slot, *self.draw(logits, uniforms, params))

    def draw(self, logits: Tensor, uniforms: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
        """Tokens [n] and their logprobs [n] from logits [n, V] and uniforms [n]."""
        if params.temperature > 0 and params.top_k == 0:
            return draw(logits, uniforms, self.temperature, self.top_p if params.top_p < 1.0 else None)
        tokens, logprobs = sample(logits, uniforms, params)
        return tokens, torch.zeros_like(uniforms) if logprobs is None else logprobs

    def take(self, row_slot: Tensor, new_tokens: Tensor, new_logprobs: Tensor) -> None:
        kernels.advance(
            row_slot,
            new_tokens,
            new_logprobs,
            tokens=self.tokens,
            positions=self.positions,
            num_made=self.num_made,
            limits=self.limits,
            is_eos=self.is_eos,
            done=self.done,
            out_tokens=self.out_tokens,
            out_logprobs=self.out_logprobs,
        )

    def _logits(self, row_slot: Tensor) -> Tensor:
        """Feed each row's token at its position; next logits [n, V]."""
        policy, eps = self.policy, self.policy.dims.rms_norm_eps
        size = (policy.dims.hidden_size,)
        x = F.embedding(self.tokens[row_slot], policy.model.embed_tokens.weight)  # [n, D]
        for index, layer in enumerate(self.layers):
            normed = F.rms_norm(x, size, layer.input_norm, eps)
            bias = layer.qkv_bias
            qkv = normed @ layer.qkv if bias is None else torch.addmm(bias, normed, layer.qkv)
            x = torch.addmm(x, self.attended(index, qkv, row_slot), layer.output)
            gate_up = F.rms_norm(x, size, layer.post_norm, eps) @ layer.gate_up
            x = torch.addmm(x, swiglu(gate_up), layer.down)
        return policy.logits(F.rms_norm(x, size, policy.model.norm.weight, eps))

    def attended(self, index: int, qkv: Tensor, row_slot: Tensor) -> Tensor:
        """Put a layer's keys and values into the cache, attend to it: [n, (H + 2 KV) Dh] -> [n, H Dh]."""
        dims, keys, values = self.policy.dims, self.keys[index], self.values[index]
        programs = row_slot.shape[0] * dims.num_kv_heads
        splits = min(_MAX_SPLITS, 1 << max(0, (_PROGRAMS_WANTED // programs).bit_length() - 1))
        queries = rope_into_cache(
            qkv,
            rotations=self.rotations,
            positions=self.positions,
            row_slot=row_slot,
            head_norm=self.layers[index].head_norm,
            eps=dims.rms_norm_eps,
            keys=keys,
            values=values,
            num_heads=dims.num_heads,
        )
        return kernels.attend(
            queries, keys, values, positions=self.positions, row_slot=row_slot, splits=splits
        )


def _sampling(params: SamplingParams) -> SamplingParams:
    """Reduce the parameters to those that a graph fixes; kernels read temperature and top-p from memory."""
    if params.temperature > 0 and params.top_k == 0:
        return SamplingParams(max_new_tokens=1, top_p=1.0 if params.top_p == 1.0 else 0.5)
    return SamplingParams(
        max_new_tokens=1,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        logprobs=params.logprobs,
    )
