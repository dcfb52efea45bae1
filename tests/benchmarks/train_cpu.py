"""Forward and backward of one optimiser step of a pretrained model's shape on a CPU, in tokens a second.

    taskset -c 0 python -m tests.benchmarks.train_cpu [--dtypes float32 bfloat16] [--prompts 4] [--profile]

SmolLM2-135M's shape with random weights, one thread; prompts of 150 to 250 tokens with 8 completions of 20 to
160 each, microbatches of 2,048. Seconds are of CPU time; tokens_per_s is of the least, and counts every row's
prompt. `share_of_floor`: the seconds that the FLOPs of what is computed, none of it twice, take at the rate
of one layer's matmul, over those measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from harness.model.dims import forward_flops
from harness.model.policy import Policy, joined, token_logprobs
from harness.model.rows import Prompts, pack_rows
from harness.training.batching import microbatches, take, work
from harness.types import Batch
from tests.benchmarks.shapes import SMOLLM2_135M, random_policy

SAMPLES, BUDGET = 8, 2048


def random_batch(num_prompts: int) -> Batch:
    """Rows of random ids, `SAMPLES` with each prompt."""
    generator = torch.Generator().manual_seed(0)
    rows = num_prompts * SAMPLES
    prompts = torch.randint(150, 251, (num_prompts,), generator=generator).repeat_interleave(SAMPLES)
    lengths = prompts + torch.randint(20, 161, (rows,), generator=generator)
    ids = torch.randint(0, SMOLLM2_135M.vocab_size, (rows, int(lengths.max())), generator=generator)
    column, numbers = torch.arange(ids.shape[1]), torch.arange(rows) // SAMPLES
    ids = torch.where(column < prompts[:, None], ids[numbers * SAMPLES], ids)
    mask, zeros = (column >= prompts[:, None]) & (column < lengths[:, None]), torch.zeros(ids.shape)
    return Batch(
        input_ids=ids,
        completion_mask=mask,
        sampler_logprobs=zeros,
        old_logprobs=zeros,
        advantages=zeros,
        group_ids=numbers,
        lengths=lengths,
        prompt_ids=numbers,
        prompt_lengths=prompts,
        rewards=torch.zeros(rows),
    )


def step(policy: Policy, batch: Batch, parts: list[Tensor]) -> None:
    """The microbatches of one optimiser step."""
    with joined(policy):
        for part in parts:
            rows = take(batch, part)
            prompts = Prompts(rows.prompt_ids, rows.prompt_lengths, padded=True)
            packed = pack_rows(rows.input_ids, rows.lengths, rows.completion_mask, prompts=prompts)
            logprobs, _ = token_logprobs(policy, packed, temperature=1.0)
            (logprobs.sum() / 1000).backward()
    policy.zero_grad(set_to_none=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def matmul_rate(dtype: torch.dtype) -> float:
    """FLOP/s of 1,024 tokens through gate and up."""
    dims = SMOLLM2_135M
    x = torch.randn(1024, dims.hidden_size).to(dtype)
    weight = torch.randn(2 * dims.intermediate_size, dims.hidden_size).to(dtype)
    times = [seconds(lambda: x @ weight.t()) for _ in range(20)]
    return 2.0 * x.shape[0] * weight.numel() / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print the operators that take longest")
    args = parser.parse_args()
    torch.set_num_threads(1)
    batch = random_batch(args.prompts)
    parts = microbatches(batch, token_budget=BUDGET)
    done = [work(batch, part) for part in parts]
    for name in args.dtypes:
        policy = random_policy(SMOLLM2_135M, dtype=getattr(torch, name), device="cpu")
        times = [seconds(partial(step, policy, batch, parts)) for _ in range(args.repeats)]
        flops = sum(3 * forward_flops(policy.dims, **x) for x in done)
        rate = matmul_rate(policy.head_weight.dtype)
        line = {
            "dtype": name,
            "tokens": int(batch.lengths.sum()),
            "computed": round(sum(x["tokens"] for x in done)),
            "seconds": [round(x, 1) for x in times],
            "tokens_per_s": round(int(batch.lengths.sum()) / min(times)),
            "matmul_gflops": round(rate / 1e9, 1),
            "share_of_floor": round(flops / rate / min(times), 2),
        }
        print(json.dumps(line), flush=True)
        if args.profile:
            with profile(activities=[ProfilerActivity.CPU]) as found:
                step(policy, batch, parts)
            print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


if __name__ == "__main__":
    main()
