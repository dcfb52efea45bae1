"""Decoding over pages on a GPU: `SlotDecoder` with a cache that holds what is written, not what may be.

A slot's keys and values lie in the pages that `table` names (`pages.Pages` hands them out). With
`policy.exact` the layers are the trainer's own, so logprobs are its own too, to the bit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.model import exact
from harness.model.chunks import PAGE
from harness.model.fused import residual_norm
from harness.model.kernels import logprobs_of
from harness.model.paged_attention import LEAST_KEYS, attend_pages, splits_of
from harness.model.policy import Policy
from harness.rollout.gpu.decode import SlotDecoder
from harness.rollout.gpu.pages import DUMMY_PAGE, pages_of
from harness.rollout.gpu.rope_kernels import rope_into_pages
from harness.types import SamplingParams


def page_bytes(policy: Policy) -> int:
    """Bytes of a page's keys and values in all layers."""
    dims = policy.dims
    return 2 * dims.num_layers * dims.num_kv_heads * PAGE * dims.head_dim * policy.head_weight.element_size()


class PagedDecoder(SlotDecoder):
    """A `SlotDecoder` with keys and values [L, pages + 1, KV, PAGE, Dh] and `table` [slots + 1, pages] int32.

    `splits` programs share each row's keys in the next steps.
    """

    def __init__(
        self, policy: Policy, *, num_slots: int, columns: int, max_new_tokens: int, num_pages: int
    ) -> None:
        self.num_pages, self.splits = num_pages, 1
        self._was_exact = policy.exact
        super().__init__(policy, num_slots=num_slots, columns=columns, max_new_tokens=max_new_tokens)
        table = torch.full((num_slots + 1, pages_of(columns)), DUMMY_PAGE, dtype=torch.int32)
        self.table = table.to(self.device)

    def cache_shape(self) -> tuple[int, ...]:
        """Shape of the keys, and of the values."""
        dims = self.policy.dims
        return (dims.num_layers, self.num_pages + 1, dims.num_kv_heads, PAGE, dims.head_dim)

    def holds(self, num_pages: int) -> bool:
        """Whether there are so many pages, and the graphs compute as the policy does now."""
        return self.num_pages >= num_pages and self._was_exact == self.policy.exact

    def share_out(self, rows: int, longest: int) -> None:
        """Choose how the keys of the next steps' rows are shared out, the longest of `longest` tokens."""
        if self.policy.exact:
            self.splits = exact.splits_of(longest)
        else:
            self.splits = splits_of(rows * self.policy.dims.num_kv_heads, longest)

    def graph_key(self, rows: int, params: SamplingParams) -> tuple[int, int, SamplingParams]:
        """What a graph fixes, beside the buffers; exact logprobs also fix the temperature."""
        rows, _, sampling = super().graph_key(rows, params)
        if self.policy.exact:
            sampling = replace(sampling, temperature=params.temperature)
        return rows, self.splits, sampling

    def copy_out(self, pages: list[int]) -> Tensor:
        """Keys and values of these pages on the host, [2, L, pages, KV, PAGE, Dh]."""
        index = torch.tensor(pages, device=self.device)
        shape = (2, self.keys.shape[0], len(pages), *self.keys.shape[2:])
        held = torch.empty(shape, dtype=self.keys.dtype)
        for layer in range(len(self.layers)):  # one at a time: the GPU has no room for a second copy
            held[0, layer] = self.keys[layer, index].cpu()
            held[1, layer] = self.values[layer, index].cpu()
        return held

    def copy_in(self, pages: list[int], held: Tensor) -> None:
        """Write what `copy_out` returned to the first of these pages."""
        index = torch.tensor(pages[: held.shape[2]], device=self.device)
        for layer in range(len(self.layers)):
            self.keys[layer].index_copy_(0, index, held[0, layer].to(self.device))
            self.values[layer].index_copy_(0, index, held[1, layer].to(self.device))

    def draw(self, logits: Tensor, uniforms: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
        """Tokens [n] and their logprobs [n] from logits [n, V] and uniforms [n]."""
        tokens, logprobs = super().draw(logits, uniforms, params)
        if self.policy.exact and params.temperature > 0:  # summed as the trainer does
            logprobs = logprobs_of(logits, tokens, params.temperature)[0]
        return tokens, logprobs

    def attended(self, index: int, qkv: Tensor, row_slot: Tensor) -> Tensor:
        """Put a layer's keys and values into their pages, and attend to them."""
        dims, keys, values = self.policy.dims, self.keys[index], self.values[index]
        queries = rope_into_pages(
            qkv,
            rotations=self.rotations,
            positions=self.positions,
            row_slot=row_slot,
            table=self.table,
            head_norm=self.layers[index].head_norm,
            eps=dims.rms_norm_eps,
            keys=keys,
            values=values,
            num_heads=dims.num_heads,
        )
        return self._read(queries, index, row_slot, LEAST_KEYS)

    def _read(self, queries: Tensor, index: int, row_slot: Tensor, least: int) -> Tensor:
        return attend_pages(
            queries,
            self.keys[index],
            self.values[index],
            table=self.table,
            positions=self.positions,
            row_slot=row_slot,
            splits=self.splits,
            least=least,
        )

    def _logits(self, row_slot: Tensor) -> Tensor:
        """Feed each row's token at its position; next logits [n, V]."""
        policy = self.policy
        if not policy.exact:
            return super()._logits(row_slot)
        positions = self.positions[row_slot]  # [n]
        rotations = torch.view_as_complex(self.rotations)[positions].unsqueeze(1)  # [n, 1, Dh/2]
        cells = self.table[row_slot, positions // PAGE].long(), positions % PAGE
        x = F.embedding(self.tokens[row_slot], policy.model.embed_tokens.weight)  # [n, D]
        for index, (own, fused) in enumerate(zip(policy.model.layers, self.layers, strict=True)):
            weights = (fused.qkv.t(), fused.qkv_bias, fused.gate_up.t())
            attends = partial(self._exactly_attended, index, row_slot, cells)
            x, _ = exact.layer(own, *weights, x, rotations, attends)
        return policy.logits(residual_norm(x, policy.model.norm.weight, policy.dims.rms_norm_eps)[1])

    def _exactly_attended(
        self,
        index: int,
        row_slot: Tensor,
        cells: tuple[Tensor, Tensor],
        queries: Tensor,
        keys_values: Tensor,
    ) -> Tensor:
        """`attended` of what is rotated; `cells` are the new keys' and values' pages, and their places."""
        keys, values = self.keys[index], self.values[index]
        keys[cells[0], :, cells[1]], values[cells[0], :, cells[1]] = keys_values.chunk(2, dim=1)
        return self._read(queries, index, row_slot, exact.EXACT_KEYS)
