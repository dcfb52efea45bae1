"""Attention of a decoding step over pages: bytes read a second, by rows, lengths, splits and launch settings.

    python -m tests.benchmarks.decode_attention [--only 1.5b-4096 --tune]

One layer's cache. A figure is the median of graph replays; bytes are those of all keys and values, once.
The first line of each case is a cache of whole rows, the second the rule of `harness.model.paged_attention`;
--tune tries others beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.model import paged_attention
from harness.rollout.gpu import kernels
from harness.rollout.gpu.decode import _MAX_SPLITS, _PROGRAMS_WANTED
from harness.rollout.gpu.pages import pages_of
from tests.benchmarks.lengths import log_normal

REPEATS, CALLS = 9, 8


@dataclass(frozen=True)
class Case:
    """Rows of so many tokens each; heads, key-value heads and head size of a model."""

    lengths: list[int]
    heads: int
    kv_heads: int
    head_dim: int


CASES = {
    "1.5b-2176": Case([2176] * 128, 12, 2, 128),
    "1.5b-4096": Case([4096] * 128, 12, 2, 128),
    "1.5b-16k-tails": Case(log_normal(128, mean=4096, most=16384, seed=0), 12, 2, 128),
    "1.5b-8-rows-32k": Case([32768] * 8, 12, 2, 128),
    "0.5b-350": Case([350] * 512, 14, 2, 64),
}


def inputs(case: Case) -> dict[str, Tensor]:
    """Random queries and cache, every row's pages in any order."""
    torch.manual_seed(0)
    counts = [pages_of(length) for length in case.lengths]
    shape = (sum(counts) + 1, case.kv_heads, paged_attention.PAGE, case.head_dim)
    order = torch.randperm(sum(counts)).to(torch.int32) + 1
    table = torch.zeros(len(counts), max(counts), dtype=torch.int32)
    for row, part in enumerate(order.split(counts)):
        table[row, : len(part)] = part
    made = {name: torch.randn(shape, dtype=torch.bfloat16, device="cuda") for name in ("keys", "values")}
    queries = torch.randn(len(counts), case.heads, case.head_dim, dtype=torch.bfloat16, device="cuda")
    return {
        **made,
        "queries": queries,
        "table": table.cuda(),
        "positions": torch.tensor(case.lengths, device="cuda") - 1,
        "row_slot": torch.arange(len(counts), device="cuda"),
    }


def milliseconds(call: Callable[[], Any]) -> float:
    """Median time of one call, of a graph of several."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(REPEATS):
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / CALLS)
    return statistics.median(times)


def whole_rows(name: str, case: Case, read: int) -> None:
    """Time `harness.rollout.gpu.kernels.attend`, with the splits that `SlotDecoder` gives it."""
    rows, programs = len(case.lengths), len(case.lengths) * case.kv_heads
    shape = (rows, case.kv_heads, max(case.lengths), case.head_dim)
    keys, values = (torch.randn(shape, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    queries = torch.randn(rows, case.heads, case.head_dim, dtype=torch.bfloat16, device="cuda")
    where = {
        "positions": torch.tensor(case.lengths, device="cuda") - 1,
        "row_slot": torch.arange(rows, device="cuda"),
    }
    splits = min(_MAX_SPLITS, 1 << max(0, (_PROGRAMS_WANTED // programs).bit_length() - 1))
    took = milliseconds(lambda: kernels.attend(queries, keys, values, **where, splits=splits))
    row = {"case": name, "cache": "whole", "splits": splits, "us": round(took * 1e3, 1)}
    print(json.dumps(row | {"gb_per_s": round(read / took / 1e6)}), flush=True)


def measure(name: str, case: Case, tune: bool) -> list[dict[str, Any]]:
    read = sum(case.lengths) * case.kv_heads * case.head_dim * 2 * 2
    whole_rows(name, case, read)
    torch.cuda.empty_cache()
    given = inputs(case)
    rule = paged_attention.splits_of(len(case.lengths) * case.kv_heads, max(case.lengths))
    tried = [(rule, paged_attention.NUM_WARPS, 0)]
    if tune:
        tried += itertools.product(sorted({1, 2, 4, 8, 16, rule}), (4, 8), (3, 5, 6))
    stages, warps, found = paged_attention._stages, paged_attention.NUM_WARPS, []
    for splits, num_warps, depth in tried:
        paged_attention.NUM_WARPS = num_warps
        paged_attention._stages = (lambda _, depth=depth: depth) if depth else stages
        row: dict[str, Any] = {"case": name, "splits": splits, "warps": num_warps, "stages": depth or "rule"}
        try:
            took = milliseconds(lambda splits=splits: paged_attention.attend_pages(**given, splits=splits))
            row |= {"us": round(took * 1e3, 1), "gb_per_s": round(read / took / 1e6)}
        except Exception as error:  # a setting that needs more shared memory than there is
            row["failed"] = str(error)[:100]
        found.append(row)
        print(json.dumps(row), flush=True)
    paged_attention._stages, paged_attention.NUM_WARPS = stages, warps
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--tune", action="store_true")
    args = parser.parse_args()
    for name in args.only:
        found = measure(name, CASES[name], args.tune)
        done = [row for row in found if "us" in row]
        if args.tune and done:
            print("best", json.dumps(min(done, key=lambda row: row["us"])), flush=True)


if __name__ == "__main__":
    main()
