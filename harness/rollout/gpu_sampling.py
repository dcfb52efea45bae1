"""Triton kernels that draw a token a row from logits: the rule of `harness.rollout.sampling`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOGITS_PER_BLOCK = 4096


@triton.jit
def _block_sums_kernel(
    logits, temperature, maxima, sums, vocab, blocks, BLOCK: tl.constexpr, BLOCKS: tl.constexpr
):
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + row * vocab + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
    value = value / tl.load(temperature)
    highest = tl.max(value, axis=0)
    tl.store(maxima + row * BLOCKS + block, highest)
    tl.store(sums + row * BLOCKS + block, tl.sum(tl.exp(value - highest), axis=0))


@triton.jit
def _draw_kernel(
    logits,
    temperature,
    uniforms,
    maxima,
    sums,
    tokens,
    logprobs,
    vocab,
    blocks,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    block = tl.arange(0, BLOCKS)
    highest_of = tl.load(maxima + row * BLOCKS + block, mask=block < blocks, other=float("-inf"))
    sum_of = tl.load(sums + row * BLOCKS + block, mask=block < blocks, other=0.0)
    highest = tl.max(highest_of, axis=0)
    cumulative = tl.cumsum(sum_of * tl.exp(highest_of - highest), axis=0)
    total = tl.max(cumulative, axis=0)
    threshold = tl.load(uniforms + row) * total
    chosen = tl.sum(((cumulative <= threshold) & (block < blocks)).to(tl.int32), axis=0)
    chosen = tl.minimum(chosen, blocks - 1)
    before = tl.max(tl.where(block < chosen, cumulative, 0.0), axis=0)
    place = tl.arange(0, BLOCK)
    token = chosen * BLOCK + place
    value = tl.load(logits + row * vocab + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
    value = value / tl.load(temperature)
    probs = tl.exp(value - highest)
    hit = (before + tl.cumsum(probs, axis=0) > threshold) & (probs > 0)
    first = tl.min(tl.where(hit, place, BLOCK), axis=0)
    # Rounding may leave no hit: then the last token that has a probability.
    last = tl.max(tl.where(probs > 0, place, 0), axis=0)
    picked = tl.where(first < BLOCK, first, last)
    tl.store(tokens + row, (chosen * BLOCK + picked).to(tl.int64))
    logit = tl.sum(tl.where(place == picked, value, 0.0), axis=0)
    tl.store(logprobs + row, logit - highest - tl.log(total))


def draw(logits: Tensor, uniforms: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """A token [n] of softmax(logits / temperature) by inversion of one uniform number a row, and its logprob.

    logits [n, V], uniforms [n] float32 in [0, 1), temperature [1] float32, positive. Reads the logits once
    and a block of them again; the same rule as `sampling.sample`, without its [n, V] temporaries.
    """
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, LOGITS_PER_BLOCK)
    padded = triton.next_power_of_2(blocks)
    maxima = logits.new_empty(rows, padded, dtype=torch.float32)
    sums = torch.empty_like(maxima)
    tokens = logits.new_empty(rows, dtype=torch.long)
    logprobs = logits.new_empty(rows, dtype=torch.float32)
    shape = {"BLOCK": LOGITS_PER_BLOCK, "BLOCKS": padded}
    _block_sums_kernel[(rows, blocks)](logits, temperature, maxima, sums, vocab, blocks, **shape)
    _draw_kernel[(rows,)](
        logits, temperature, uniforms, maxima, sums, tokens, logprobs, vocab, blocks, **shape
    )
    return tokens, logprobs
