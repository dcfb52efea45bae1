"""How far the sampler's logprobs are from the trainer's, on a model's real weights, before and after updates.

    python -m tests.benchmarks.sampler_gap MODEL_FOLDER --problems gsm8k_test.jsonl [--engine vllm]

Samples of real problems under the model's chat template. Every distance is a mean and a 99th percentile of
|difference| over completion tokens, nats; float32 is the trainer's own forward pass with its weights widened.
So `trainer_float32` is what rounding alone does: two engines that round apart differ by the sum at most.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.types import Prompt, Rollout, SamplingParams


def logprobs_of(
    policy: Policy, asked: Sequence[Prompt], rollouts: Sequence[Rollout], temperature: float
) -> Tensor:
    """log p of every completion token by the trainer's forward pass, [N], on the CPU."""
    device, found = policy.head_weight.device, []
    for prompt, rollout in zip(asked, rollouts, strict=True):
        ids = torch.tensor([[*prompt.token_ids, *rollout.completion_ids]])
        mask = torch.arange(ids.shape[1])[None] >= len(prompt.token_ids)
        rows = pack_rows(ids, torch.tensor([ids.shape[1]]), mask, device=device)
        with torch.no_grad():
            logprobs, _ = token_logprobs(policy, rows, temperature=temperature)
        found.append(logprobs.cpu()[mask])
    return torch.cat(found)


def widened(policy: Policy) -> Policy:
    """Copy of the weights in float32."""
    exact = Policy(policy.dims, dtype=torch.float32, device=policy.head_weight.device)
    exact.load_state_dict({name: x.float() for name, x in policy.state_dict().items()})
    return exact


def gaps(
    policy: Policy, asked: Sequence[Prompt], rollouts: Sequence[Rollout], temperature: float
) -> dict[str, Tensor]:
    """|Δ log p| of every completion token, nats, [N] each: of the engine, the trainer and float32."""
    engine = torch.tensor([x for rollout in rollouts for x in rollout.sampler_logprobs or ()])
    trainer = logprobs_of(policy, asked, rollouts, temperature)
    exact = logprobs_of(widened(policy), asked, rollouts, temperature)
    return {
        "engine_trainer": (engine - trainer).abs(),
        "engine_float32": (engine - exact).abs(),
        "trainer_float32": (trainer - exact).abs(),
    }


def summary(found: dict[str, Tensor]) -> dict[str, Any]:
    numbers = {f"{k}_mean": float(x.mean()) for k, x in found.items()}
    return numbers | {f"{k}_p99": float(x.quantile(0.99)) for k, x in found.items()}


def prompts(folder: Path, problems: Path, count: int, samples: int) -> list[Prompt]:
    from harness.model.files.codec import Codec

    codec = Codec.from_folder(folder)
    texts = [json.loads(line) for line in problems.read_text().splitlines()[:count]]
    asked = []
    for i, row in enumerate(texts):
        text = row.get("problem") or row["question"]
        asked += [Prompt(str(i), "chat", text, tuple(codec.prompt_ids(text, "chat")))] * samples
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--engine", choices=["native", "vllm"], default="native")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--updates", type=int, default=3, help="times that all weights move by 1 %%")
    args = parser.parse_args()
    from harness.model.files.hub import load_pretrained

    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load_pretrained(args.model, dtype=getattr(torch, args.dtype), device=device)
    asked = prompts(args.model, args.problems, args.count, args.samples)
    settings: dict[str, Any] = {"eos_token_ids": (2,), "decode": lambda ids: "", "max_batch_size": len(asked)}
    engine: Any
    if args.engine == "native":
        from harness.rollout.native import NativeEngine

        engine = NativeEngine(policy, **settings)
    else:
        from harness.rollout.vllm.engine import VllmEngine

        engine = VllmEngine(policy, memory=0.3, enforce_eager=None, max_model_len=1024, **settings)
    params = SamplingParams(max_new_tokens=args.tokens, temperature=args.temperature, logprobs=True)
    for update in range(args.updates + 1):
        if update:
            with torch.no_grad():
                for x in policy.parameters():
                    x.mul_(1 + 0.01 * torch.randn_like(x))
        engine.load_weights(policy.state_dict().items())
        rollouts = engine.generate(asked, params=params, seeds=range(len(asked)))
        found = gaps(policy, asked, rollouts, args.temperature)
        entropy = -float(logprobs_of(policy, asked, rollouts, args.temperature).mean())
        row = {"engine": args.engine, "device": device, "dtype": args.dtype, "temperature": args.temperature}
        row |= {"updates": update, "tokens": len(found["engine_trainer"]), "surprisal": entropy}
        print(json.dumps({**row, **summary(found)}), flush=True)


if __name__ == "__main__":
    main()
