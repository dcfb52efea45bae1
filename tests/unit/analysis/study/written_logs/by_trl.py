"""Write trl/ with TRL's own GRPOTrainer (`log_completions=True`) and a tiny model of random weights.

Made with TRL 1.16.0, by `python -m tests.unit.analysis.study.written_logs.by_trl`; TRL is in `.[dev]`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from tests.unit.analysis.study.written_logs.problems import PROBLEMS

HERE = Path(__file__).resolve().parent


def tokenizer() -> PreTrainedTokenizerFast:
    characters = sorted({*"0123456789", *"".join(problem for problem, _ in PROBLEMS)})
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<end>", *characters])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")


def digits(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """Right where a completion holds the answer's last digit: random weights find that now and then."""
    return [float(a[-1] in text) for text, a in zip(completions, answer, strict=True)]


def main() -> None:
    made = tokenizer()
    config = Qwen2Config(
        vocab_size=len(made),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    data = Dataset.from_list([{"prompt": problem, "answer": answer} for problem, answer in PROBLEMS[:4]])
    for name, seed in (("first", 1), ("second", 2)):
        with tempfile.TemporaryDirectory() as folder:
            settings = GRPOConfig(
                output_dir=folder,
                seed=seed,
                use_cpu=True,
                bf16=False,
                max_steps=1,
                logging_steps=1,
                num_generations=4,
                per_device_train_batch_size=16,
                max_completion_length=8,
                log_completions=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            )
            trainer = GRPOTrainer(
                Qwen2ForCausalLM(config), digits, settings, train_dataset=data, processing_class=made
            )
            trainer.train()
            target = HERE / "trl" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(Path(folder) / "completions", target)


if __name__ == "__main__":
    main()
