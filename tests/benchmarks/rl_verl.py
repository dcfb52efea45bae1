"""verl's side of a GRPO step, with vLLM beside it on the same GPU: see `rl_sides`.

verl's own GRPO, loss and reward manager, none of this project's: what a user of verl runs. Its processes are
those of `python -m verl.trainer.main_ppo`; seconds are those that it logs of each step (`timing_s/step`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.rl_sides import GpuMemory, Work

TEMPLATE = "{{ messages[0]['content'] }}"  # the message as it stands
PHASES = ("gen", "old_log_prob", "update_actor", "update_weights")
ATTENTION = "harness.training.verl.attention"  # enters `varlen`; flash-attn would have to be built
POLL = 0.5  # seconds between two looks at its log


def _setting(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*:0?\.\d+:(on|off)", text):
        raise argparse.ArgumentTypeError(f"{text}: not of the form 16384:0.5:on")
    return text


def add_verl(parser: argparse.ArgumentParser, *, by_default: bool) -> None:
    """The options that both scripts give verl's side; `by_default` there is a setting that nobody gave."""
    form = {"type": _setting, "metavar": "MICROBATCH:MEMORY:BYPASS"}
    parser.add_argument("--verl", nargs="*", default=["16384:0.5:on"] * by_default, **form)
    parser.add_argument("--verl-python", default=sys.executable, help="Python of an environment with verl")


def overrides(folder: Path, out: Path, work: Work, *, steps: int, setting: str, longest: int) -> list[str]:
    """Settings of verl 0.9.1; `setting` is `tokens a microbatch:vLLM's share of memory:bypass on or off`.

    With bypass the sampler's logprobs are taken for those of the old policy, as TRL's and this project's one
    update a step do; without, verl computes them in a forward pass of its own. `longest`: tokens of the
    longest prompt.
    """
    tokens, memory, bypass = setting.split(":")
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    return [
        f"data.train_files={out / 'train.parquet'}",
        f"data.val_files={out / 'train.parquet'}",
        "data.val_max_samples=1",
        f"data.train_batch_size={work.prompts}",
        f"data.max_prompt_length={longest}",
        f"data.max_response_length={work.tokens}",
        f"actor_rollout_ref.model.path={folder}",
        f"actor_rollout_ref.model.tokenizer_path={out / 'tokenizer'}",
        f'actor_rollout_ref.model.custom_chat_template="{TEMPLATE}"',
        "actor_rollout_ref.model.use_remove_padding=true",
        "actor_rollout_ref.model.enable_gradient_checkpointing=false",
        "+actor_rollout_ref.model.override_config.attn_implementation=varlen",
        f"{actor}.strategy=fsdp2",
        f"{actor}.fsdp_config.model_dtype=bfloat16",
        f"{actor}.ppo_mini_batch_size={work.prompts}",
        f"{actor}.use_dynamic_bsz=true",
        f"{actor}.ppo_max_token_len_per_gpu={max(int(tokens), longest + work.tokens)}",
        f"{actor}.use_kl_loss=false",
        f"{actor}.entropy_coeff=0",
        f"{actor}.optim.lr=1e-6",
        f"{rollout}.name=vllm",
        f"{rollout}.n={work.samples}",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.gpu_memory_utilization={memory}",
        f"{rollout}.max_num_seqs={work.rows}",
        f"{rollout}.max_model_len={longest + work.tokens}",
        f"{rollout}.ignore_eos=true",
        f"{rollout}.calculate_log_probs=true",
        "algorithm.adv_estimator=grpo",
        "algorithm.use_kl_in_reward=false",
        f"algorithm.rollout_correction.bypass_mode={'true' if bypass == 'on' else 'false'}",
        "critic.enable=false",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=2",  # each wants a core of its own
        f"reward.custom_reward_function.path={Path(__file__).resolve()}",
        "reward.custom_reward_function.name=compute_score",
        "trainer.logger=[console,file]",
        "trainer.nnodes=1",
        "trainer.n_gpus_per_node=1",
        f"trainer.total_training_steps={steps + 1}",
        "trainer.total_epochs=1000",
        "trainer.save_freq=-1",
        "trainer.test_freq=-1",
        "trainer.val_before_train=false",
        f"trainer.default_local_dir={out / 'checkpoints'}",
    ]


def compute_score(data_source: str, solution_str: str, **_: Any) -> float:
    """A reward that differs within groups, as TRL's side has it."""
    return float(len(solution_str) % 2)


def prepare(folder: Path, data: Path, out: Path) -> int:
    """Write verl's prompts and its tokenizer; tokens of the longest prompt.

    The tokenizer's files lie apart from the model's, since the class that goes with an architecture has a
    pre-tokeniser of its own.
    """
    import pandas
    from tokenizers import Tokenizer

    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, out / "tokenizer")
    problems = [json.loads(line) for line in data.read_text().splitlines()]
    rows = [
        {
            "data_source": "none",
            "prompt": [{"role": "user", "content": problem["problem"]}],
            "reward_model": {"style": "rule", "ground_truth": problem["answer"]},
            "extra_info": {"index": i},
        }
        for i, problem in enumerate(problems)
    ]
    pandas.DataFrame(rows).to_parquet(out / "train.parquet")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return max(len(tokenizer.encode(problem["problem"]).ids) for problem in problems)


def read(log: Path, steps: int) -> dict[str, Any]:
    """Seconds of the steps after the first, and medians of their phases, of verl's log so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [json.loads(line)["data"] for line in lines if line.endswith("}")]
    timed = [row for row in rows if "timing_s/step" in row]
    counted = timed[1 : steps + 1]
    phases = {
        f"seconds_{name}": median(row[f"timing_s/{name}"] for row in counted)
        for name in PHASES
        if counted and all(f"timing_s/{name}" in row for row in counted)
    }
    first = {"first_s": timed[0]["timing_s/step"]} if timed else {}
    return {**first, "step_s": [row["timing_s/step"] for row in counted], "phases": phases}


def environment(log: Path) -> dict[str, str]:
    """Environment variables of verl's processes, which import from this checkout."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
    names = {"VERL_FILE_LOGGER_PATH": str(log), "VERL_USE_EXTERNAL_MODULES": ATTENTION}
    return {"PYTHONPATH": path, **names}


def verl(
    folder: Path,
    data: Path,
    out: Path,
    work: Work,
    *,
    steps: int,
    setting: str,
    python: str,
) -> dict[str, Any]:
    """verl's steps after the first, in processes of its own; they are ended once all are measured."""
    longest = prepare(folder, data, out)
    log, memory, found = out / "metrics.jsonl", GpuMemory(), dict[str, Any]()
    given = overrides(folder, out, work, steps=steps, setting=setting, longest=longest)
    with (out / "output.log").open("w") as output:
        process = subprocess.Popen(
            [python, "-m", "verl.trainer.main_ppo", *given],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(log)},
            start_new_session=True,
        )
        try:
            while process.poll() is None and len(found.get("step_s", ())) < steps:
                time.sleep(POLL)
                before = len(found.get("step_s", ()))
                found = {"setting": setting, **read(log, steps), "device_gb": memory.peak_gb}
                if len(found["step_s"]) > before:
                    print(json.dumps(found), flush=True)
                    print(f"verl {setting}: step {len(found['step_s'])}", file=sys.stderr, flush=True)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not found.get("step_s"):
        said = (out / "output.log").read_text(errors="replace")[-3000:]
        sys.exit(f"verl measured nothing; the end of its log:\n{said}")
    return found
