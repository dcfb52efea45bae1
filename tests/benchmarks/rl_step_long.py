"""GRPO steps with long outputs, ours and peers', of Qwen2.5-1.5B's shape: seconds a step, decoding, memory.

    python -m tests.benchmarks.rl_step_long --out rl_step_long.json   # forced-4k, both sides, 8 minutes
    python -m tests.benchmarks.rl_step_long --parts tails-8k:ours tails-8k:trl tails-32k:sample

16 prompts × 8 completions. forced-4k: each of 4,096 tokens. tails-8k, -16k and -32k: lengths from a
log-normal with a mean of a quarter of the limit, the same for both sides. A part is case:side: ours (with
each --cache), trl (with each --trl), verl (with each --verl; forced lengths alone), or sample, our sampler
alone in 80 GB. Parts that were measured before
at this commit stay in the file; after --budget seconds nothing is begun.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from harness.model.dims import ModelDims, num_parameters
from tests.benchmarks.rl_ours import ours
from tests.benchmarks.rl_sides import GpuMemory, Work, best, child, compared, header, prepare
from tests.benchmarks.rl_trl import trl
from tests.benchmarks.rl_verl import add_verl, verl
from tests.benchmarks.shapes import SHAPES, random_policy

CASES = {
    "forced-4k": Work(16, 8, 4096),
    "tails-8k": Work(16, 8, 8192, mean=2048),
    "tails-16k": Work(16, 8, 16384, mean=4096),
    "tails-32k": Work(16, 8, 32768, mean=8192),
}
FIRST = "forced-4k"  # whose steps are the file's own `ours_s` and `trl_s`
SIDES = ("ours", "trl", "verl", "sample")
TIMED = ("ours", "trl", "verl")  # whose whole steps are timed
MEMORY = 80e9  # of the GPU for which `sample` asks whether it fits
SHARE = 0.3  # of it for keys and values: the default of rollout.cache_memory


def decode_bytes(work: Work, dims: ModelDims, lengths: list[int]) -> float:
    """Fewest bytes that decoding reads: all weights each step, and each row's keys and values so far."""
    cached = 4.0 * dims.num_layers * dims.num_kv_heads * dims.head_dim  # bfloat16, keys and values of a token
    weights = 2.0 * num_parameters(dims) * max(lengths)
    return weights + cached * sum(n * work.prompt_words + n * (n + 1) / 2 for n in lengths)


def sample(work: Work, shape: str) -> dict[str, Any]:
    """Our sampler alone, whose process may take `MEMORY` bytes."""
    from harness.rollout.native import NativeEngine
    from harness.types import Prompt, SamplingParams

    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY / whole))
    policy = random_policy(SHAPES[shape], dtype=torch.bfloat16, device="cuda")
    engine = NativeEngine(
        policy,
        eos_token_ids=(),
        decode=lambda _: "",
        max_batch_size=work.rows,
        paged=True,
        cache_bytes=SHARE * MEMORY,
    )
    prompts = [
        Prompt(str(i), "none", "", tuple(range(i + 2, i + 2 + work.prompt_words)))
        for i in range(work.prompts)
        for _ in range(work.samples)
    ]
    watch, found, ended = GpuMemory(), dict[str, Any](), 0

    def on_end(_: int, tokens: list[int]) -> None:
        nonlocal ended
        ended += 1
        if ended % 16 == 0:
            so_far = time.perf_counter() - start
            print(f"sample: {ended} of {work.rows} ended, {so_far:.1f} s", file=sys.stderr, flush=True)

    for limits in ([32] * work.rows, work.lengths(1)):  # the first call compiles
        ended, start = 0, time.perf_counter()
        params = SamplingParams(max_new_tokens=work.tokens, logprobs=True)
        engine.generate(prompts, params=params, seeds=range(work.rows), limits=limits, on_end=on_end)
        seconds = time.perf_counter() - start
        found = {
            "s": seconds,
            "tokens_per_s": sum(limits) / seconds,
            "ms_a_step": seconds / max(limits) * 1e3,
            "decode_gb_per_s": decode_bytes(work, policy.dims, limits) / seconds / 1e9,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
            "device_gb": watch.peak_gb,
        }
    print(json.dumps(found), flush=True)
    return found


def check() -> None:
    """Compare the paged kernels with plain attention on little, so that a broken one costs seconds."""
    from harness.model.chunks import PAGE
    from harness.model.paged_attention import attend_pages
    from tests.unit.harness.rollout.gpu.plain import pages_in_any_order, plain_attention

    lengths = [1, PAGE + 1, 1000]
    pages, table = pages_in_any_order(lengths)
    keys, values = (
        torch.randn(len(pages) + 1, 2, PAGE, 128, dtype=torch.bfloat16, device="cuda") for _ in range(2)
    )
    queries = torch.randn(3, 12, 128, dtype=torch.bfloat16, device="cuda")
    positions, row_slot = torch.tensor(lengths, device="cuda") - 1, torch.arange(3, device="cuda")
    given = (queries, keys, values, table.cuda(), positions, row_slot)
    expected = plain_attention(*given)
    for splits in (1, 4):
        found = attend_pages(
            *given[:3], table=given[3], positions=positions, row_slot=row_slot, splits=splits
        )
        error = float((found.double().cpu() - expected).norm() / expected.norm())
        if not error < 8e-3:
            sys.exit(f"attention over pages is off by {error:.2g} with splits={splits}; nothing is measured")
    print("attention over pages is right", file=sys.stderr, flush=True)


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = [f"{case}:{side}" for case in CASES for side in SIDES if side != "verl" or case == FIRST]
    parser.add_argument("--out", type=Path, default=Path("rl_step_long.json"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/rl_step"))
    parser.add_argument("--shape", default="qwen2.5-1.5b", choices=SHAPES)
    parser.add_argument("--parts", nargs="+", default=["forced-4k:ours", "forced-4k:trl"], choices=parts)
    parser.add_argument("--prompts", type=int, help="in place of 16, for a shorter measurement")
    parser.add_argument("--tokens", type=int, help="limit of a completion in place of the case's")
    parser.add_argument("--steps", type=int, default=3, help="steps that count, each side")
    parser.add_argument("--microbatch-tokens", type=int, default=16384)
    parser.add_argument("--cache", nargs="+", default=["whole", "paged"], choices=["whole", "paged"])
    parser.add_argument("--trl", nargs="*", default=["4:on:0.3"], metavar="MICROBATCH:LIGER:MEMORY")
    add_verl(parser, by_default=True)  # read where a part asks for it
    parser.add_argument("--budget", type=float, default=560.0, help="seconds for all parts")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def work_of(args: argparse.Namespace, case: str) -> Work:
    """The case's work, with the sizes that were asked for in place of its own."""
    work = CASES[case]
    tokens = args.tokens or work.tokens
    mean = None if work.mean is None else work.mean * tokens / work.tokens
    return Work(args.prompts or work.prompts, work.samples, tokens, work.prompt_words, mean)


def one_side(args: argparse.Namespace) -> None:
    """Measure one part in this process; its figures go to stdout."""
    work = work_of(args, args.parts[0].split(":")[0])
    folder, data = args.work / args.shape, args.work / f"problems-{work.prompt_words}.jsonl"
    out = args.work / f"{args.side}-{os.getpid()}"
    if args.side == "ours":
        tokens = args.microbatch_tokens
        more = [f"rollout.cache={args.cache[0]}"]
        ours(folder, data, out, work, steps=args.steps, microbatch_tokens=tokens, more=more)
    elif args.side == "trl":
        trl(folder, data, out, work, steps=args.steps, setting=args.trl[0])
    elif args.side == "verl":
        verl(folder, data, out, work, steps=args.steps, setting=args.verl[0], python=args.verl_python)
    else:
        sample(work, args.shape)


def decoding(found: dict[str, Any], work: Work, shape: str, steps: int) -> dict[str, float]:
    """Bytes a second that decoding read in the sampling phase, which also prefills."""
    seconds = found.get("phases", {}).get("seconds_sample")
    if not seconds:
        return {}
    read = statistics.median(decode_bytes(work, SHAPES[shape], work.lengths(i + 1)) for i in range(steps))
    return {"decode_gb_per_s": read / seconds / 1e9}


def earlier(out: Path, commit: object) -> dict[str, Any]:
    """The cases of a file that was written at this commit, to which parts are added."""
    if not out.exists():
        return {}
    found = json.loads(out.read_text())
    cases: dict[str, Any] = found.get("cases", {}) if found.get("commit") == commit else {}
    return cases


def measure(args: argparse.Namespace, result: dict[str, Any], end: float) -> None:
    """Run each part in a process of its own, and write the file after each."""
    same = ["--work", str(args.work), "--shape", args.shape, "--steps", str(args.steps)]
    same += ["--microbatch-tokens", str(args.microbatch_tokens)]
    same += ["--prompts", str(args.prompts)] if args.prompts else []
    same += ["--tokens", str(args.tokens)] if args.tokens else []
    same += ["--verl-python", args.verl_python]
    settings = {"ours": args.cache, "trl": args.trl, "verl": args.verl, "sample": [""]}
    jobs = [(part, setting) for part in args.parts for setting in settings[part.split(":")[1]]]
    for part, setting in jobs:
        case, side = part.split(":")
        left = end - time.monotonic()
        if left < 30:
            print(f"{part} {setting}: not begun, {left:.0f} s are left", flush=True)
            continue
        option = {"ours": "--cache", "trl": "--trl", "verl": "--verl"}.get(side)
        chosen = [*same, "--side", side, "--parts", part, *([option, setting] if option else [])]
        print(f"{part} {setting}: begins, {left:.0f} s are left", flush=True)
        found, work = child("rl_step_long", chosen, left), work_of(args, case)
        if side == "ours":
            found |= decoding(found, work, args.shape, args.steps)
        print(part, json.dumps(found), flush=True)
        row = result["cases"].setdefault(case, {"work": asdict(work)} | {name: [] for name in SIDES})
        row[side].append(found)
        row |= {f"{name}_s": best(row[name]) for name in TIMED}
        first = result["cases"].get(FIRST, {})
        result |= {f"{name}_s": first.get(f"{name}_s", []) for name in TIMED}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    args = arguments_of()
    if args.side:
        one_side(args)
        return
    end = time.monotonic() + args.budget
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA GPU")
    check()
    if any(part.endswith(":trl") for part in args.parts):
        missing = [name for name in ("trl", "vllm", "datasets") if find_spec(name) is None]
        if missing:
            sys.exit(f"a part of TRL needs {', '.join(missing)}; install them, or give --parts without :trl")
    work = work_of(args, FIRST)
    prepare(args.work, args.shape, None, work)
    torch.cuda.empty_cache()
    result = header(work, args.shape)
    result |= {"memory_gb_of_sample": MEMORY / 1e9, "cases": earlier(args.out, result["commit"])}
    measure(args, result, end)
    for case, row in result["cases"].items():
        for line in compared(case, row):
            print(line)


if __name__ == "__main__":
    main()
