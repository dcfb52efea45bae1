"""Native rollouts on a GPU: tokens/s of whole calls, and the seconds of one decoding step.

python -m tests.benchmarks.rollout_gpu [--shape ladder_l --prompts 256 --samples 8 --tokens 256]
python -m tests.benchmarks.rollout_gpu --shape smollm2-135m --temperature 0.6 --top-p 0.95     # R1's protocol

Every completion runs to its budget (there is no end token), so all rows decode all the time.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from harness.rollout.gpu.paged_decode import PagedDecoder
from harness.rollout.native import NativeEngine
from harness.types import Prompt, SamplingParams
from tests.benchmarks.shapes import SHAPES, random_policy


def prompts(count: int, samples: int, vocab: int, length: int) -> list[Prompt]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab, (count, length), generator=generator).tolist()
    return [Prompt(str(i), "none", "", tuple(row)) for i, row in enumerate(ids) for _ in range(samples)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--length", type=int, default=95)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--logprobs", action="store_true")
    parser.add_argument("--paged", action="store_true", help="rollout.cache=paged")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    policy = random_policy(SHAPES[args.shape], dtype=getattr(torch, args.dtype), device="cuda")
    asked = prompts(args.prompts, args.samples, policy.dims.vocab_size, args.length)
    options = {"eos_token_ids": (), "decode": lambda ids: "", "max_batch_size": len(asked)}
    engine = NativeEngine(policy, **options, paged=args.paged)
    params = SamplingParams(
        max_new_tokens=args.tokens, temperature=args.temperature, top_p=args.top_p, logprobs=args.logprobs
    )
    for repeat in range(3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        rollouts = engine.generate(asked, params=params, seeds=range(len(asked)))
        seconds = time.perf_counter() - start
        made = sum(len(r.completion_ids) for r in rollouts)
        print(
            json.dumps(
                {
                    "shape": args.shape,
                    "temperature": args.temperature,
                    "top_p": args.top_p,
                    "call": repeat,
                    "s": round(seconds, 3),
                    "tokens_per_s": round(made / seconds),
                    "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
                }
            ),
            flush=True,
        )
    with torch.inference_mode():
        time_steps(engine, len(asked), params, args.length, args.profile)


def time_steps(engine: NativeEngine, rows: int, params: SamplingParams, length: int, profile: bool) -> None:
    """Replays of one graph with every row at the same context; slots are done, so nothing is written out."""
    decoder = engine._decoder
    assert decoder is not None
    if isinstance(decoder, PagedDecoder):
        own = torch.arange(decoder.table[:rows].numel(), device=decoder.device) + 1  # each row's own pages
        decoder.table[:rows] = own.clamp(max=decoder.num_pages).view(rows, -1)
    start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for context in (length, length + params.max_new_tokens // 2, length + params.max_new_tokens - 2):
        decoder.positions.fill_(context)
        decoder.done.fill_(1)
        if isinstance(decoder, PagedDecoder):
            decoder.share_out(rows, context + 1)
        decoder.step(rows, params)
        start_event.record()
        for _ in range(20):
            decoder.step(rows, params)
        end_event.record()
        torch.cuda.synchronize()
        print(json.dumps({"context": context, "step_ms": round(start_event.elapsed_time(end_event) / 20, 3)}))
    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
            decoder.step(rows, params)
            torch.cuda.synchronize()
        table = trace.key_averages().table(sort_by="self_cuda_time_total", row_limit=20)
        print("\n".join(row[:60] + row[-110:] for row in table.splitlines()), flush=True)


if __name__ == "__main__":
    main()
