"""TRL's side of a GRPO step, with vLLM in its process: see `rl_sides`."""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.rl_sides import GpuMemory, Work

TOKENS_OF = ("pad_token", "eos_token", "bos_token", "unk_token")


def limit_vllm(work: Work) -> None:
    """Make vLLM's generate give each completion of a whole batch the length that the work says."""
    import vllm

    generate, calls = vllm.LLM.generate, itertools.count()

    def limited(self: Any, prompts: Any, sampling_params: Any = None, **keywords: Any) -> Any:
        if len(prompts) == work.rows:
            lengths = work.lengths(next(calls))
            each = [sampling_params.clone() for _ in lengths]
            for params, length in zip(each, lengths, strict=True):
                params.max_tokens = length
            sampling_params = each
        return generate(self, prompts, sampling_params, **keywords)

    vllm.LLM.generate = limited


def _config(out: Path, work: Work, *, steps: int, setting: str) -> Any:
    """TRL's settings; `setting` is `rows a microbatch:liger kernels:vLLM's share of memory`."""
    from trl import GRPOConfig

    micro, liger, memory = setting.split(":")
    return GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=int(micro),
        gradient_accumulation_steps=work.rows // int(micro),
        num_generations=work.samples,
        max_completion_length=work.tokens,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=float(memory),
        vllm_max_model_length=work.tokens + 512,
        generation_kwargs={"ignore_eos": True},
        model_init_kwargs={"dtype": "bfloat16"},
        use_liger_kernel=liger == "on",
        optim="adamw_torch_fused",
        learning_rate=1e-6,
        beta=0.0,
        bf16=True,
        gradient_checkpointing=False,
        max_steps=steps + 1,
        logging_steps=1000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def trl(folder: Path, data: Path, out: Path, work: Work, *, steps: int, setting: str) -> dict[str, Any]:
    """TRL's steps after the first."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOTrainer

    prompts = [json.loads(line)["problem"] for line in data.read_text().splitlines()]
    times, found, watch = list[float](), {"setting": setting}, GpuMemory()

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            times.append(time.perf_counter())
            found["step_s"] = [b - a for a, b in itertools.pairwise(times)]
            found["peak_gb"], found["device_gb"] = torch.cuda.max_memory_allocated() / 1e9, watch.peak_gb
            print(json.dumps(found), flush=True)
            print(f"TRL {setting}: step {len(times)}", file=sys.stderr, flush=True)

    if work.mean is not None:
        limit_vllm(work)
    # Named, because the class that goes with the architecture has a pre-tokeniser of its own.
    names = {
        k: v for k, v in json.loads((folder / "tokenizer_config.json").read_text()).items() if k in TOKENS_OF
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    assert len(tokenizer(prompts[0])["input_ids"]) >= work.prompt_words // 2
    trainer = GRPOTrainer(
        processing_class=tokenizer,
        model=str(folder),
        reward_funcs=lambda completions, **_: [float(len(c) % 2) for c in completions],
        args=_config(out, work, steps=steps, setting=setting),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        callbacks=[Clock()],
    )
    trainer.train()
    return found
