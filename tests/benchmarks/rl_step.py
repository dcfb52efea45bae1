"""A whole GRPO step, ours, TRL's and verl's, on one GPU in one run: same model, prompts, lengths and dtype.

python -m tests.benchmarks.rl_step --out rl_step.json [--shape qwen2.5-0.5b | --model FOLDER]
                                   [--trl 16:off:0.3 64:on:0.3 ...] [--verl 16384:0.5:on ...]

64 prompts × 8 completions × 512 tokens (no end token stops them), bf16 weights, AdamW, no KL, one update a
step. `rl_step_long` has longer ones. The first step, which compiles, does not count; with --profile the
training of another one is profiled.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tests.benchmarks.rl_ours import ours
from tests.benchmarks.rl_sides import (
    Work,
    best,
    child,
    compared,
    header,
    prepare,
    write_model,
    write_problems,
)
from tests.benchmarks.rl_trl import trl
from tests.benchmarks.rl_verl import add_verl, verl

__all__ = ["main", "write_model", "write_problems"]

WORK = Work()
MFU = (
    "(6 x the layers' matmul parameters x computed tokens + 6 x the head's x completion tokens + 12 x layers "
    "x heads x head_dim x pairs of a query and a key before or at it) / seconds / 989e12; a prompt that rows "
    "share once; nothing that is computed again"
)


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("rl_step.json"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/rl_step"))
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=["qwen2.5-0.5b", "smollm2-135m"])
    parser.add_argument("--model", type=Path, help="a hub folder with real weights, in place of --shape")
    parser.add_argument("--steps", type=int, default=3, help="steps that count, each side")
    parser.add_argument("--microbatch-tokens", type=int, nargs="+", default=[16384])
    parser.add_argument("--trl", nargs="*", default=[], metavar="MICROBATCH:LIGER:MEMORY")
    add_verl(parser, by_default=False)
    parser.add_argument("--profile", action="store_true", help="ours: kernels and gaps of a step")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds for each process")
    parser.add_argument("--side", choices=["ours", "trl", "verl"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments_of()
    folder, data = prepare(args.work, args.shape, args.model, WORK) if not args.side else _paths(args)
    if args.side:
        out = args.work / f"{args.side}-{os.getpid()}"
        if args.side == "ours":
            tokens = args.microbatch_tokens[0]
            ours(folder, data, out, WORK, steps=args.steps, microbatch_tokens=tokens, profile=args.profile)
        elif args.side == "trl":
            trl(folder, data, out, WORK, steps=args.steps, setting=args.trl[0])
        else:
            verl(folder, data, out, WORK, steps=args.steps, setting=args.verl[0], python=args.verl_python)
        return
    same = ["--work", str(args.work), "--shape", args.shape, "--steps", str(args.steps)]
    same += ["--model", str(args.model)] if args.model else []
    same += ["--profile"] if args.profile else []
    name = str(args.model.name) if args.model else args.shape
    result: dict[str, Any] = {"mfu_is": MFU, **header(WORK, name), "ours": [], "trl": [], "verl": []}
    for side, arguments in _sides(args):
        found = child("rl_step", [*same, *arguments], args.limit)
        print(side, json.dumps(found), flush=True)
        result[side].append(found)
        result |= {f"{one}_s": best(result[one]) for one in ("ours", "trl", "verl")}
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    for line in compared(name, result):
        print(line)


def _paths(args: argparse.Namespace) -> tuple[Path, Path]:
    return args.model or args.work / args.shape, args.work / f"problems-{WORK.prompt_words}.jsonl"


def _sides(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(side, its arguments) of each process to run."""
    sides = [("ours", ["--side", "ours", "--microbatch-tokens", str(n)]) for n in args.microbatch_tokens]
    sides += [("trl", ["--side", "trl", "--trl", setting]) for setting in args.trl]
    own = ["--side", "verl", "--verl-python", args.verl_python, "--verl"]
    return sides + [("verl", [*own, setting]) for setting in args.verl]


if __name__ == "__main__":
    main()
