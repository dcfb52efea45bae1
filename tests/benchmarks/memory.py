"""Peak memory of a training microbatch, forward and backward without an optimiser: ours and the plain way.

python -m tests.benchmarks.memory [--vocab 8192 49152] [--lengths 512 8192] [--json FILE]

Vocabularies vary at the second length, lengths at the third vocabulary; one row of each length is packed and
every token but the first is predicted. Plain: `logits.float().log_softmax(-1).gather`, over the same layers.
A figure is what PyTorch had allocated at most, weights and gradients included; on a CPU the resident memory
that a process of its own reached. None: out of memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.model.dims import ModelDims
from harness.model.policy import Policy, states_before, token_logprobs
from harness.model.rows import Rows, pack_rows
from harness.training.accounting import peak_resident_bytes
from tests.benchmarks.shapes import SHAPES, random_policy


def plain(policy: Policy, rows: Rows) -> Tensor:
    """log p of the wanted tokens [M], through float32 logits [M, V] and their log-softmax."""
    logits = states_before(policy, rows) @ policy.head_weight.t()
    return logits.float().log_softmax(-1).gather(1, rows.targets[:, None]).squeeze(1)


def peak(dims: ModelDims, length: int, way: str, device: str) -> int | None:
    """Bytes at most while one row of `length` tokens goes forward and backward; None: out of memory."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        policy = random_policy(dims, dtype=dtype, device=device)
        ids = torch.randint(0, dims.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))
        wanted = torch.ones_like(ids, dtype=torch.bool)
        wanted[:, 0] = False
        rows = pack_rows(ids, torch.tensor([length]), wanted, device=device)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        ours = way == "ours"
        found = token_logprobs(policy, rows, temperature=1.0)[0] if ours else plain(policy, rows)
        (found.sum() / length).backward()
    except torch.OutOfMemoryError:
        return None
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()


def measured(dims: ModelDims, length: int, way: str, device: str) -> int | None:
    """`peak` in a process of its own, so that nothing earlier counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak, (dims, length, way, device))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--vocab", type=int, nargs="+", default=[8192, 32768, 49152, 151936])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192, 32768])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    args = parser.parse_args(argv)
    middle = args.lengths[min(1, len(args.lengths) - 1)], args.vocab[min(2, len(args.vocab) - 1)]
    tables = {
        "vocabulary": [(vocab, middle[0]) for vocab in args.vocab],
        "length": [(middle[1], length) for length in args.lengths],
    }
    found: list[dict[str, Any]] = []
    for name, cases in tables.items():
        for vocab, length in cases:
            dims = dataclasses.replace(SHAPES[args.shape], vocab_size=vocab, max_position_embeddings=length)
            sizes = {way: measured(dims, length, way, args.device) for way in ("ours", "plain")}
            gigabytes = {f"{way}_gb": None if x is None else round(x / 1e9, 3) for way, x in sizes.items()}
            found.append({"by": name, "vocab": vocab, "tokens": length, **gigabytes})
            print(json.dumps(found[-1]), flush=True)
    if args.json:
        settings = {"shape": args.shape, "device": args.device, "torch": torch.__version__}
        args.json.write_text(json.dumps({"settings": settings, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
