"""A whole GRPO step, ours and TRL's, on one GPU in one run: same model, prompts, lengths and dtype.

python -m tests.benchmarks.rl_step --out rl_step.json [--shape qwen2.5-0.5b | --model FOLDER]
                                   [--trl 16:off:0.3 64:on:0.3 ...]

64 prompts × 8 completions × 512 tokens (no end token stops them), bf16 weights, AdamW, no KL, one update a
step. Ours is the loop of `training.trainer`, timed from log to log. A TRL setting is microbatch:Liger:vLLM's
memory share. Each side runs in a process of its own; the first step, which compiles, does not count, nor does
the last, which is saved; with --profile the last one's training is profiled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.profiling import profiled, table

PROMPTS, SAMPLES, TOKENS, PROMPT_WORDS = 64, 8, 512, 95
MFU = (
    "(6 x the layers' matmul parameters x computed tokens + 6 x the head's x completion tokens + 12 x layers "
    "x heads x head_dim x pairs of a query and a key before or at it) / seconds / 989e12; a prompt that rows "
    "share once; nothing that is computed again"
)
TOKENS_OF = ("pad_token", "eos_token", "bos_token", "unk_token")


def write_model(folder: Path, shape: str, device: str = "cuda") -> None:
    """A hub folder with random weights and a tokenizer of one word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from harness.model.files.hub import save_pretrained
    from tests.benchmarks.shapes import BY_NAME, random_policy

    dims = BY_NAME[shape]
    save_pretrained(random_policy(dims, dtype=torch.bfloat16, device=device), folder, eos_token_ids=(1,))
    vocab = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, dims.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "<eos>"}
    settings = {**names, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32768}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_problems(path: Path, encode: Any, decode: Any) -> None:
    """Problems of about PROMPT_WORDS tokens, all different."""
    generator = torch.Generator().manual_seed(0)
    vocab = len(encode.vocab)
    lines = []
    for i in range(PROMPTS * 8):
        ids = torch.randint(vocab // 2, vocab - 100, (PROMPT_WORDS,), generator=generator).tolist()
        lines.append({"problem": decode(ids).strip() or f"problem {i}", "answer": "7", "split": "train"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def settings(folder: Path, data: Path, out: Path, steps: int, microbatch_tokens: int) -> list[str]:
    """Settings of our side, as overrides."""
    return [
        "model=folder",
        f"model.path={folder}",
        "data=jsonl",
        f"data.path={data}",
        "data.answer_range=null",
        "objective=dapo",
        "objective.selection={fn: all, by: reward, max_sampled: null}",
        "objective.reward={accuracy: 0.0, soft_overlong: 0.0, random: 1.0, overlong_buffer: null}",
        "objective.updates={epochs: 1, minibatches: 1}",
        f"rollout.prompts_per_step={PROMPTS}",
        f"rollout.group_size={SAMPLES}",
        f"rollout.max_new_tokens={TOKENS}",
        "rollout.max_batch_size=512",
        f"trainer.microbatch_tokens={microbatch_tokens}",
        f"trainer.steps={steps}",
        "trainer.lr=1e-6",
        "trainer.checkpoint_every=1000",
        "eval.splits=[]",
        "tracking.mode=disabled",
        "dtype=bfloat16",
        f"output_dir={out}",
    ]


def profile_last(steps: int, found: dict[str, Any]) -> None:
    """Profile the training of the last step into `found`."""
    from harness.training import trainer

    update_policy = trainer.update_policy

    def watched(run: Any, *args: Any, **keywords: Any) -> Any:
        if run.counters.step < steps - 1:
            return update_policy(run, *args, **keywords)
        metrics: list[Any] = []
        found["profile"] = profiled(lambda: metrics.append(update_policy(run, *args, **keywords)))
        print(table(found["profile"]), file=sys.stderr, flush=True)
        return metrics[0]

    trainer.update_policy = watched


def ours(
    folder: Path, data: Path, out: Path, steps: int, microbatch_tokens: int, profile: bool
) -> dict[str, Any]:
    from harness.launch.expand import expand
    from harness.training import trainer
    from harness.training.setup import setup

    overrides = settings(folder, data, out, steps, microbatch_tokens)
    (job,) = expand(overrides, multirun=False).jobs
    base = out / "base"
    base.mkdir(parents=True)
    (base / "model").symlink_to(folder)
    run = setup(job.config, base=base, folder=out / "run", device="cuda")
    run.engine._eos = frozenset()  # type: ignore[attr-defined]
    times, rows, found = [time.perf_counter()], [], dict[str, Any]()
    if profile:
        profile_last(steps, found)

    def log(metrics: dict[str, Any]) -> None:
        torch.cuda.synchronize()
        times.append(time.perf_counter())
        rows.append(metrics)

    trainer.train(run, report=lambda *_: None, log=log, evaluate=lambda _: None)
    seconds = [b - a for a, b in itertools.pairwise(times)]
    phases = {
        name: statistics.median(row[name] for row in rows[1:-1])
        for name in rows[1]
        if name.startswith("seconds_") or name in ("mfu", "sampler_gap", "sampled_tokens")
    }
    return {
        "step_s": seconds[1:-1],  # the last one also measures and publishes
        "first_s": seconds[0],
        "phases": phases,
        "microbatch_tokens": microbatch_tokens,
        "peak_gb": max(v for row in rows for k, v in row.items() if k.startswith("peak_memory")) / 1e9,
        **found,
    }


def trl(folder: Path, data: Path, out: Path, steps: int, setting: str) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    micro, liger, memory = setting.split(":")
    prompts = [json.loads(line)["problem"] for line in data.read_text().splitlines()]
    args = GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=int(micro),
        gradient_accumulation_steps=PROMPTS * SAMPLES // int(micro),
        num_generations=SAMPLES,
        max_completion_length=TOKENS,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=float(memory),
        vllm_max_model_length=1024,
        generation_kwargs={"ignore_eos": True},
        model_init_kwargs={"dtype": "bfloat16"},
        use_liger_kernel=liger == "on",
        optim="adamw_torch_fused",
        learning_rate=1e-6,
        beta=0.0,
        bf16=True,
        gradient_checkpointing=False,
        max_steps=steps,
        logging_steps=1000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            times.append(time.perf_counter())
            print(f"TRL {setting}: step {len(times)}", file=sys.stderr, flush=True)

    # Named, because the class that goes with the architecture has a pre-tokeniser of its own.
    names = {
        k: v for k, v in json.loads((folder / "tokenizer_config.json").read_text()).items() if k in TOKENS_OF
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    assert len(tokenizer(prompts[0])["input_ids"]) >= PROMPT_WORDS // 2
    trainer = GRPOTrainer(
        processing_class=tokenizer,
        model=str(folder),
        reward_funcs=lambda completions, **_: [float(len(c) % 2) for c in completions],
        args=args,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        callbacks=[Clock()],
    )
    trainer.train()
    seconds = [b - a for a, b in itertools.pairwise(times)]
    return {"setting": setting, "step_s": seconds, "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def child(arguments: list[str], limit: float) -> dict[str, Any]:
    """Run one side in a fresh process, so that neither inherits the other's memory; its last line is JSON."""
    command = [sys.executable, "-m", "tests.benchmarks.rl_step", *arguments]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"longer than {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    return json.loads(lines[-1]) if lines else {"failed": f"exit code {done.returncode}"}


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("rl_step.json"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/rl_step"))
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=["qwen2.5-0.5b", "smollm2-135m"])
    parser.add_argument("--model", type=Path, help="a hub folder with real weights, in place of --shape")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--microbatch-tokens", type=int, nargs="+", default=[16384])
    parser.add_argument("--trl", nargs="*", default=[], metavar="MICROBATCH:LIGER:MEMORY")
    parser.add_argument("--profile", action="store_true", help="ours: kernels and gaps of a step")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds for each process")
    parser.add_argument("--side", choices=["ours", "trl"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments_of()
    folder, data = args.model or args.work / args.shape, args.work / "problems.jsonl"
    if args.side:
        out = args.work / f"{args.side}-{os.getpid()}"
        if args.side == "ours":
            found = ours(folder, data, out, args.steps, args.microbatch_tokens[0], args.profile)
        else:
            found = trl(folder, data, out, max(3, args.steps - 2), args.trl[0])
        print(json.dumps(found), flush=True)
        return
    from harness.model.files.codec import Codec
    from harness.records.code_state import code_state, hardware, packages

    args.work.mkdir(parents=True, exist_ok=True)
    if args.model is None and not (folder / "tokenizer_config.json").exists():
        folder.mkdir(exist_ok=True)
        write_model(folder, args.shape)
        torch.cuda.empty_cache()
    tokenizer = Codec.from_folder(folder)
    tokenizer.vocab = tokenizer.tokenizer.get_vocab()  # type: ignore[attr-defined]
    write_problems(data, tokenizer, tokenizer.decode)
    same = ["--work", str(args.work), "--shape", args.shape, "--steps", str(args.steps)]
    same += ["--model", str(args.model)] if args.model else []
    same += ["--profile"] if args.profile else []
    code = code_state()
    result: dict[str, Any] = {
        "mfu_is": MFU,
        "device": torch.cuda.get_device_name(),
        "hardware": hardware("cuda"),
        "commit": code["commit"],
        "dirty": code["dirty"],
        "versions": packages(),
        "settings": {
            "model": str(args.model.name) if args.model else args.shape,
            "prompts": PROMPTS,
            "samples": SAMPLES,
            "completion_tokens": TOKENS,
            "prompt_tokens": PROMPT_WORDS,
            "dtype": "bfloat16",
        },
        "ours": [],
        "trl": [],
    }
    for side, arguments in _sides(args):
        found = child([*same, *arguments], args.limit)
        print(side, json.dumps(found), flush=True)
        result[side].append(found)
        for name in ("ours", "trl"):
            done = [x["step_s"] for x in result[name] if "step_s" in x]
            result[f"{name}_s"] = min(done, key=statistics.median) if done else []
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    if result["ours_s"] and result["trl_s"]:
        a, b = statistics.median(result["ours_s"]), statistics.median(result["trl_s"])
        print(f"{result['settings']['model']}: ours {a:.2f} s, TRL {b:.2f} s, {b / a:.2f}x")


def _sides(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(side, its arguments) of each process to run."""
    sides = [("ours", ["--side", "ours", "--microbatch-tokens", str(n)]) for n in args.microbatch_tokens]
    return sides + [("trl", ["--side", "trl", "--trl", setting]) for setting in args.trl]


if __name__ == "__main__":
    main()
