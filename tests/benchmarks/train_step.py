"""Forward and backward of packed rows on a GPU: seconds, tokens/s and MFU, for several microbatch sizes.

python -m tests.benchmarks.train_step [--tokens 8192 16384 32768] [--samples 8] [--profile]

`--samples` rows have one prompt, which is computed once (1: nothing is shared); `--tokens` bounds what is
computed. tokens_per_s counts rows with their prompts each, computed_per_s what is computed.

MFU = (6 × (layers' matmul parameters × computed tokens + the head's × completion tokens) + 12 × layers × H Dh
× pairs of a query and a key before or at it) / seconds / 989e12: recomputed work is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from typing import Any

import torch

from harness.model.dims import forward_flops
from harness.model.policy import Policy, joined, token_logprobs
from harness.model.rows import Prompts, Rows, pack_rows
from tests.benchmarks.profiling import profiled, table
from tests.benchmarks.shapes import QWEN_0_5B, SMOLLM2_135M, random_policy

PROMPT, COMPLETION = 95, 512
PEAK = 989e12  # FLOP/s, dense bf16, H100 SXM


def packed(policy: Policy, rows: int, samples: int) -> Rows:
    """Random rows of one length, so many in a row with one prompt."""
    ids = torch.randint(0, policy.dims.vocab_size, (rows, PROMPT + COMPLETION))
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    wanted[:, PROMPT:] = True
    numbers = torch.arange(rows) // samples
    ids[:, :PROMPT] = ids[numbers * samples, :PROMPT]
    prompts = Prompts(numbers, torch.full((rows,), PROMPT), padded=False)
    lengths = torch.full((rows,), PROMPT + COMPLETION)
    return pack_rows(ids, lengths, wanted, prompts=prompts, device=policy.head_weight.device)


def step(policy: Policy, rows: int, samples: int) -> None:
    logprobs, _ = token_logprobs(policy, packed(policy, rows, samples), temperature=1.0)
    (logprobs.sum() / (rows * COMPLETION)).backward()


def steps(policy: Policy, rows: int, samples: int, num: int) -> None:
    """The microbatches of one optimiser step."""
    with joined(policy):
        for _ in range(num):
            step(policy, rows, samples)


def computed(rows: int, samples: int) -> int:
    return rows * COMPLETION + -(-rows // samples) * PROMPT


def flops(policy: Policy, rows: int, samples: int) -> float:
    length, prompts = PROMPT + COMPLETION, -(-rows // samples)
    pairs = rows * length * (length + 1) / 2 - (rows - prompts) * PROMPT * (PROMPT + 1) / 2
    tokens, predicted = computed(rows, samples), rows * COMPLETION
    return 3 * forward_flops(policy.dims, tokens=tokens, predicted=predicted, pairs=pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--shape", choices=["qwen2.5-0.5b", "smollm2-135m"], default="qwen2.5-0.5b")
    parser.add_argument("--samples", type=int, default=8, help="rows with one prompt")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--microbatches", type=int, default=8, help="of one optimiser step")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    dims = QWEN_0_5B if args.shape == "qwen2.5-0.5b" else SMOLLM2_135M
    policy = random_policy(dims, dtype=torch.bfloat16, device="cuda")
    for tokens in args.tokens:
        rows = max(n for n in range(1, tokens) if n == 1 or computed(n, args.samples) <= tokens)
        torch.cuda.reset_peak_memory_stats()
        seconds = []
        for repeat in range(args.repeats + 2):
            torch.cuda.synchronize()
            start = time.perf_counter()
            steps(policy, rows, args.samples, args.microbatches)
            torch.cuda.synchronize()
            if repeat >= 2:
                seconds.append((time.perf_counter() - start) / args.microbatches)
        median = statistics.median(seconds)
        line: dict[str, Any] = {
            "shape": args.shape,
            "rows": rows,
            "samples": args.samples,
            "computed": computed(rows, args.samples),
            "ms": round(median * 1e3, 2),
            "tokens_per_s": round(rows * (PROMPT + COMPLETION) / median),
            "computed_per_s": round(computed(rows, args.samples) / median),
            "mfu": round(flops(policy, rows, args.samples) / median / PEAK, 4),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        }
        if args.profile:
            line["profile"] = profiled(partial(steps, policy, rows, args.samples, args.microbatches))
            print(table(line["profile"]))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
