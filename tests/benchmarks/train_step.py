"""Forward and backward of packed rows on a GPU: seconds, tokens/s and MFU, for several microbatch sizes.

python -m tests.benchmarks.train_step [--tokens 8192 16384 32768] [--profile]

MFU = (6 × (layers' matmul parameters × tokens + the head's × completion tokens) + causal half of attention,
12 × layers × H Dh × Σ length² / 2) / seconds / 989e12: recomputed work is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from harness.model import Policy, joined, token_logprobs
from harness.rows import pack_rows
from tests.benchmarks.profiling import profiled, table
from tests.benchmarks.shapes import QWEN_0_5B, SMOLLM2_135M, matmul_parameters, random_policy

PROMPT, COMPLETION = 95, 512
PEAK = 989e12  # FLOP/s, dense bf16, H100 SXM


def step(policy: Policy, rows: int) -> None:
    ids = torch.randint(0, policy.dims.vocab_size, (rows, PROMPT + COMPLETION))
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, PROMPT:] = True
    lengths = torch.full((rows,), PROMPT + COMPLETION)
    packed = pack_rows(ids, lengths, mask, device=policy.head_weight.device)
    logprobs, _ = token_logprobs(policy, packed, temperature=1.0)
    (logprobs.sum() / (rows * COMPLETION)).backward()


def steps(policy: Policy, rows: int, num: int) -> None:
    """The microbatches of one optimiser step."""
    with joined(policy):
        for _ in range(num):
            step(policy, rows)


def flops(policy: Policy, rows: int) -> float:
    dims, length = policy.dims, PROMPT + COMPLETION
    layers, head = matmul_parameters(dims)
    attention = 12 * dims.num_layers * dims.num_heads * dims.head_dim * length * length / 2
    return rows * (6 * (layers * length + head * COMPLETION) + attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--shape", choices=["qwen2.5-0.5b", "smollm2-135m"], default="qwen2.5-0.5b")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--microbatches", type=int, default=8, help="of one optimiser step")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    dims = QWEN_0_5B if args.shape == "qwen2.5-0.5b" else SMOLLM2_135M
    policy = random_policy(dims, dtype=torch.bfloat16, device="cuda")
    for tokens in args.tokens:
        rows = max(1, tokens // (PROMPT + COMPLETION))
        torch.cuda.reset_peak_memory_stats()
        seconds = []
        for repeat in range(args.repeats + 2):
            torch.cuda.synchronize()
            start = time.perf_counter()
            steps(policy, rows, args.microbatches)
            torch.cuda.synchronize()
            if repeat >= 2:
                seconds.append((time.perf_counter() - start) / args.microbatches)
        median = statistics.median(seconds)
        line = {
            "shape": args.shape,
            "tokens": rows * (PROMPT + COMPLETION),
            "ms": round(median * 1e3, 2),
            "tokens_per_s": round(rows * (PROMPT + COMPLETION) / median),
            "mfu": round(flops(policy, rows) / median / PEAK, 4),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        }
        print(json.dumps(line), flush=True)
        if args.profile:
            print(table(profiled(lambda rows=rows: steps(policy, rows, args.microbatches))), flush=True)


if __name__ == "__main__":
    main()
