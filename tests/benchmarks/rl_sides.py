"""What the sides of a whole GRPO step share: model, prompts, lengths, processes, the file of figures.

Used by `rl_step` and `rl_step_long`. Each side runs in a process of its own and prints a line of JSON after
each step, so that one that fails or is stopped leaves what it measured.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.lengths import log_normal


@dataclass(frozen=True)
class Work:
    """What a step samples and trains on.

    No end token stops a completion. It has `tokens` tokens, or, with `mean`, a number of its own from a
    log-normal of that mean, cut off at `tokens`.
    """

    prompts: int = 64
    samples: int = 8
    tokens: int = 512
    prompt_words: int = 95
    mean: float | None = None

    @property
    def rows(self) -> int:
        return self.prompts * self.samples

    def lengths(self, step: int) -> list[int]:
        """Tokens of each completion of a step, the same for both sides."""
        if self.mean is None:
            return [self.tokens] * self.rows
        return log_normal(self.rows, mean=self.mean, most=self.tokens, seed=step)


def write_model(folder: Path, shape: str, device: str = "cuda") -> None:
    """A hub folder with random weights and a tokenizer of one word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from harness.model.files.hub import save_pretrained
    from tests.benchmarks.shapes import SHAPES, random_policy

    dims = SHAPES[shape]
    save_pretrained(random_policy(dims, dtype=torch.bfloat16, device=device), folder, eos_token_ids=(1,))
    vocab = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, dims.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "<eos>"}
    settings = {**names, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32768}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_problems(path: Path, encode: Any, decode: Any, work: Work = Work()) -> None:
    """Problems of about `prompt_words` tokens, all different."""
    generator = torch.Generator().manual_seed(0)
    vocab = len(encode.vocab)
    lines = []
    for i in range(work.prompts * 8):
        ids = torch.randint(vocab // 2, vocab - 100, (work.prompt_words,), generator=generator).tolist()
        lines.append({"problem": decode(ids).strip() or f"problem {i}", "answer": "7", "split": "train"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


class GpuMemory(threading.Thread):
    """Watches how much of the GPU is in use, by whatever allocates: `peak_gb` so far, 0 where nobody knows.

    It asks the driver past CUDA, whose calls may not come while another thread captures a graph.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gb = 0.0
        self.start()

    def run(self) -> None:
        with suppress(Exception):  # no NVML here: no figure
            while True:
                self.peak_gb = max(self.peak_gb, torch.cuda.device_memory_used() / 1e9)
                time.sleep(0.3)


def child(module: str, arguments: list[str], limit: float) -> dict[str, Any]:
    """Run one side in a fresh process, so that neither inherits the other's memory; its last line of JSON."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    failed: dict[str, Any] = {}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=limit)
        text = done.stdout
        if done.returncode:
            failed = {"failed": f"exit code {done.returncode}"}
    except subprocess.TimeoutExpired as late:
        text, failed = late.stdout or b"", {"failed": f"longer than {limit:.0f} s"}
    lines = [line for line in text.decode(errors="replace").splitlines() if line.startswith('{"')]
    return {**(json.loads(lines[-1]) if lines else {}), **failed}


def best(found: Sequence[dict[str, Any]]) -> list[float]:
    """Steps of the fastest of a side's settings; none where none was measured."""
    done = [x["step_s"] for x in found if x.get("step_s")]
    return min(done, key=statistics.median) if done else []


def compared(name: str, row: Mapping[str, Any]) -> list[str]:
    """A line for each peer that was measured beside this project, at the best of its settings."""
    ours = row["ours_s"]
    peers = {"TRL": row.get("trl_s"), "verl": row.get("verl_s")}
    return [
        f"{name}: ours {statistics.median(ours):.2f} s, {peer} {statistics.median(theirs):.2f} s, "
        f"{statistics.median(theirs) / statistics.median(ours):.2f}x"
        for peer, theirs in peers.items()
        if ours and theirs
    ]


def prepare(work_folder: Path, shape: str, model: Path | None, work: Work) -> tuple[Path, Path]:
    """Write the model, unless it is there, and the problems; (model folder, file of problems)."""
    from harness.model.files.codec import Codec

    folder, data = model or work_folder / shape, work_folder / f"problems-{work.prompt_words}.jsonl"
    work_folder.mkdir(parents=True, exist_ok=True)
    if model is None and not (folder / "tokenizer_config.json").exists():
        folder.mkdir(exist_ok=True)
        write_model(folder, shape)
        torch.cuda.empty_cache()
    tokenizer: Any = Codec.from_folder(folder)
    tokenizer.vocab = tokenizer.tokenizer.get_vocab()
    write_problems(data, tokenizer, tokenizer.decode, work)
    return folder, data


def header(work: Work, model: str) -> dict[str, Any]:
    """What every file of figures says first: device, commit, versions, settings."""
    from harness.records.code_state import code_state, hardware, packages

    code = code_state()
    return {
        "device": torch.cuda.get_device_name(),
        "hardware": hardware("cuda"),
        "commit": code["commit"],
        "dirty": code["dirty"],
        "versions": packages(),
        "settings": {"model": model, "dtype": "bfloat16", **dataclasses.asdict(work)},
    }
