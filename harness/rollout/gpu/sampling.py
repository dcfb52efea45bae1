"""Triton kernels that draw a token a row from logits: the rule of `harness.rollout.sampling`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOGITS_PER_BLOCK = 4096
_SPARE_BITS = {torch.bfloat16: 16, torch.float16: 13, torch.float32: 0}  # of float32, always zero in these


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
    finite = tl.where(highest > float("-inf"), highest, 0.0)  # a block of -inf has the sum 0
    tl.store(sums + row * BLOCKS + block, tl.sum(tl.exp(value - finite), axis=0))


@triton.jit
def _key(logit, SPARE: tl.constexpr):
    """int32 in the order of float32 logits, equal for equals alone, without the lowest SPARE bits."""
    bits = tl.where(logit == 0, 0.0, logit).to(tl.int32, bitcast=True)  # -0.0 is 0.0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> SPARE


@triton.jit
def _nucleus_kernel(
    logits,
    temperature,
    top_p,
    maxima,
    sums,
    lowest,
    kept,
    vocab,
    blocks,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    SPARE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    block, place = tl.arange(0, BLOCKS), tl.arange(0, BLOCK)
    highest_of = tl.load(maxima + row * BLOCKS + block, mask=block < blocks, other=float("-inf"))
    sum_of = tl.load(sums + row * BLOCKS + block, mask=block < blocks, other=0.0)
    highest = tl.max(highest_of, axis=0)
    heat, share = tl.load(temperature), tl.load(top_p)
    # A sum of exponentials, not of products: a product fused with the sum's first addition is rounded in one
    # thread and not in another, and threads that part before a barrier wait for each other for ever.
    total = tl.sum(tl.exp(highest_of - highest + tl.log(sum_of)), axis=0)
    target = tl.maximum(share * total, 1e-30)
    # All tokens below (1 - p) / V of the largest weigh less than 1 - p, so the threshold is not among them.
    # The factor 0.5 and the four keys are room for rounding; the largest logit is always inside.
    high = _key(heat * highest, SPARE).to(tl.int64) + 4
    least = heat * (highest + tl.log(0.5 * (1.0 - share) / vocab))
    low = tl.minimum(_key(least, SPARE).to(tl.int64), high - 8)
    # The tokens from `low` up weigh at least the target, those from `high` up less. A count of halvings, not
    # a `while` on the sums: every thread goes through as many barriers whatever it finds.
    halvings = tl.ceil(tl.log2((high - low).to(tl.float32))).to(tl.int32) + 1
    for _ in range(0, halvings):
        middle = (low + high) >> 1
        weight = tl.zeros([BLOCK], tl.float32)
        for start in range(0, vocab, BLOCK):
            token = start + place
            logit = tl.load(logits + row * vocab + token, mask=token < vocab, other=float("-inf"))
            logit = logit.to(tl.float32)
            weight += tl.where(_key(logit, SPARE) >= middle.to(tl.int32), tl.exp(logit / heat - highest), 0.0)
        reached = tl.sum(weight, axis=0) >= target
        low = tl.where(reached, middle, low)
        high = tl.where(reached, high, tl.maximum(middle, low + 1))
    tl.store(lowest + row, low.to(tl.int32))
    for index in range(0, blocks):
        token = index * BLOCK + place
        logit = tl.load(logits + row * vocab + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
        inside = _key(logit, SPARE) >= low.to(tl.int32)
        tl.store(kept + row * BLOCKS + index, tl.sum(tl.where(inside, tl.exp(logit / heat - highest), 0.0)))


@triton.jit
def _draw_kernel(
    logits,
    temperature,
    uniforms,
    maxima,
    sums,
    lowest,
    kept,
    tokens,
    logprobs,
    vocab,
    blocks,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    SPARE: tl.constexpr,
    NUCLEUS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    block = tl.arange(0, BLOCKS)
    highest_of = tl.load(maxima + row * BLOCKS + block, mask=block < blocks, other=float("-inf"))
    sum_of = tl.load(sums + row * BLOCKS + block, mask=block < blocks, other=0.0)
    highest = tl.max(highest_of, axis=0)
    weight_of = sum_of * tl.exp(highest_of - highest)
    normaliser = highest + tl.log(tl.sum(weight_of, axis=0))
    if NUCLEUS:
        weight_of = tl.load(kept + row * BLOCKS + block, mask=block < blocks, other=0.0)
    cumulative = tl.cumsum(weight_of, axis=0)
    threshold = tl.load(uniforms + row) * tl.max(cumulative, axis=0)
    chosen = tl.sum(((cumulative <= threshold) & (block < blocks)).to(tl.int32), axis=0)
    chosen = tl.minimum(chosen, blocks - 1)
    before = tl.max(tl.where(block < chosen, cumulative, 0.0), axis=0)
    place = tl.arange(0, BLOCK)
    token = chosen * BLOCK + place
    logit = tl.load(logits + row * vocab + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
    value = logit / tl.load(temperature)
    probs = tl.exp(value - highest)
    if NUCLEUS:
        probs = tl.where(_key(logit, SPARE) >= tl.load(lowest + row), probs, 0.0)
    hit = (before + tl.cumsum(probs, axis=0) > threshold) & (probs > 0)
    first = tl.min(tl.where(hit, place, BLOCK), axis=0)
    # Rounding may leave no hit: then the last token that has a probability.
    last = tl.max(tl.where(probs > 0, place, 0), axis=0)
    picked = tl.where(first < BLOCK, first, last)
    tl.store(tokens + row, (chosen * BLOCK + picked).to(tl.int64))
    tl.store(logprobs + row, tl.sum(tl.where(place == picked, value, 0.0), axis=0) - normaliser)


def draw(
    logits: Tensor, uniforms: Tensor, temperature: Tensor, top_p: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A token [n] of softmax(logits / temperature) by inversion of one uniform number a row, and its logprob.

    logits [n, V] bfloat16, float16 or float32, uniforms [n] float32 in [0, 1), temperature [1] float32,
    positive. Reads the logits once and a block of them again; the same rule as `sampling.sample`, without
    its [n, V] temporaries. With top_p [1] float32 in (0, 1] only tokens of the nucleus are drawn; its least
    logit is found by bisection over the numbers that logits can be, exactly and without a sort: a reading
    of the row a halving, at most 20 in half precision and 33 in float32, and one more. Logprobs are the
    whole distribution's.
    """
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, LOGITS_PER_BLOCK)
    padded = triton.next_power_of_2(blocks)
    maxima = logits.new_empty(rows, padded, dtype=torch.float32)
    sums = torch.empty_like(maxima)
    tokens = logits.new_empty(rows, dtype=torch.long)
    logprobs = logits.new_empty(rows, dtype=torch.float32)
    shape = {"BLOCK": LOGITS_PER_BLOCK, "BLOCKS": padded}
    spare = _SPARE_BITS[logits.dtype]
    _block_sums_kernel[(rows, blocks)](logits, temperature, maxima, sums, vocab, blocks, **shape)
    lowest, kept = tokens, sums  # not read without a nucleus
    if top_p is not None:
        lowest, kept = logits.new_empty(rows, dtype=torch.int32), torch.empty_like(sums)
        _nucleus_kernel[(rows,)](
            logits,
            temperature,
            top_p,
            maxima,
            sums,
            lowest,
            kept,
            vocab,
            blocks,
            SPARE=spare,
            **shape,
            num_warps=8,
        )
    _draw_kernel[(rows,)](
        logits,
        temperature,
        uniforms,
        maxima,
        sums,
        lowest,
        kept,
        tokens,
        logprobs,
        vocab,
        blocks,
        SPARE=spare,
        NUCLEUS=top_p is not None,
        **shape,
    )
    return tokens, logprobs
