"""Model folders through transformers and through our reader: equal log probabilities, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.model.files.folder import EMBEDDING, HEAD, folder_dims
from harness.model.files.hub import load_pretrained, save_pretrained
from harness.model.files.tokenizer import save_tokenizer
from harness.model.policy import token_logprobs
from harness.model.rows import pack_rows
from harness.rollout.engines import engine_key
from tests.conformance.folders import LLAMA3_ROPE, edit_config, edit_weights, write_model
from tests.unit.harness.tiny import configure


def other_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors[EMBEDDING].flip(0) * 0.7


def one_other_row(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors[EMBEDDING].clone()
    tensors[HEAD][7] += 1


def equal_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors[EMBEDDING].clone()


def stale_buffers(tensors: dict[str, torch.Tensor]) -> None:
    for name in ("model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"):
        tensors[name] = torch.full((4,), 99.0)


def old_rope(folder: Path) -> Path:
    """A configuration of transformers 4."""
    scaling = {k: v for k, v in LLAMA3_ROPE.items() if k != "rope_theta"}
    return edit_config(folder, rope_parameters=None, rope_theta=5e5, rope_scaling=scaling)


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "llama, tied": lambda f: write_model(f, "llama", tie_word_embeddings=True),
    "llama, its own head": lambda f: write_model(f, "llama", tie_word_embeddings=False),
    "tied, another head stored": lambda f: edit_weights(
        write_model(f, "llama", tie_word_embeddings=True), other_head
    ),
    "qwen2, tied, another head stored": lambda f: edit_weights(
        write_model(f, "qwen2", tie_word_embeddings=True), other_head
    ),
    "tied, a head with one other row": lambda f: edit_weights(
        write_model(f, "llama", tie_word_embeddings=True), one_other_row
    ),
    "tied, an equal head stored": lambda f: edit_weights(
        write_model(f, "llama", tie_word_embeddings=True), equal_head
    ),
    "old rotary buffers": lambda f: edit_weights(write_model(f, "llama"), stale_buffers),
    "qwen2 with biases": lambda f: write_model(f, "qwen2"),
    "qwen3 with norms of heads": lambda f: write_model(f, "qwen3", head_dim=12),
    "llama, wide heads": lambda f: write_model(f, "llama", head_dim=24),
    "one key head": lambda f: write_model(f, "llama", num_key_value_heads=1),
    "no fewer key heads": lambda f: write_model(f, "llama", num_key_value_heads=4),
    "rotary base": lambda f: write_model(
        f, "qwen2", rope_parameters={"rope_type": "default", "rope_theta": 77.0}
    ),
    "llama3 rotary scaling": lambda f: write_model(f, "llama", rope_parameters=LLAMA3_ROPE),
    "llama3 scaling, written by transformers 4": lambda f: old_rope(write_model(f, "llama")),
    "shards": lambda f: write_model(f, "llama", shard="10KB"),
    "bfloat16": lambda f: write_model(f, "llama", dtype=torch.bfloat16),
    "float16": lambda f: write_model(f, "qwen3", dtype=torch.float16),
}


@torch.no_grad()
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_as_transformers_reads_it(name: str, tmp_path: Path) -> None:
    folder = FOLDERS[name](tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ours = load_pretrained(folder, dtype=torch.float32, device="cpu")
    ids = torch.randint(0, 61, (3, 40), generator=torch.Generator().manual_seed(1))
    expected = theirs(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    rows = pack_rows(ids, torch.full((3,), 40), torch.ones_like(ids, dtype=torch.bool))
    found, _ = token_logprobs(ours, rows, temperature=1.0)
    assert expected.abs().max() > 1  # not a uniform guess, which any reading would give
    assert (found[:, 1:] - expected).abs().max() < 1e-5
    assert ours.dims == folder_dims(folder)
    tied = theirs.get_output_embeddings().weight is theirs.get_input_embeddings().weight
    assert ours.dims.tie_word_embeddings == tied

    save_pretrained(ours, tmp_path / "saved")  # what a run writes is read as it was
    again = load_pretrained(tmp_path / "saved", dtype=torch.float32, device="cpu")
    assert torch.equal(token_logprobs(again, rows, temperature=1.0)[0], found)


def test_an_engine_is_not_shared_by_a_tied_model_and_one_with_another_head(tmp_path: Path) -> None:
    config = configure()
    tied = write_model(tmp_path / "tied", "llama", tie_word_embeddings=True, eos_token_id=1)
    other = edit_weights(
        write_model(tmp_path / "other", "llama", tie_word_embeddings=True, eos_token_id=1), other_head
    )
    for folder in (tied, other):
        save_tokenizer(folder)
    assert (tied / "config.json").read_bytes() == (other / "config.json").read_bytes()
    assert engine_key(config, tied, "cpu") != engine_key(config, other, "cpu")


def unknown_bias(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.ones(32)


def as_int8(tensors: dict[str, torch.Tensor]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].clamp(-1, 1).mul(127).to(torch.int8)


def as_fp8(tensors: dict[str, torch.Tensor]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)


def a_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")


def an_infinity(tensors: dict[str, torch.Tensor]) -> None:
    tensors[EMBEDDING][0, 0] = float("inf")


def no_head(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[HEAD]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (unknown_bias, ("have also", "q_proj.bias")),
        (as_int8, ("model.safetensors", "up_proj.weight", "I8", "quantised")),
        (as_fp8, ("model.safetensors", "up_proj.weight", "F8_E4M3", "quantised")),
        (a_nan, ("model.safetensors", "layers.1.mlp.up_proj.weight", "NaN")),
        (an_infinity, ("model.safetensors", EMBEDDING, "infinity")),
        (no_head, ("lack", HEAD)),
    ],
)
def test_weights_that_cannot_be_read_rightly_are_refused(
    edit: Callable[[dict[str, torch.Tensor]], None], words: tuple[str, ...], tmp_path: Path
) -> None:
    folder = edit_weights(write_model(tmp_path, "llama"), edit)
    with pytest.raises(ValueError) as error:
        load_pretrained(folder, dtype=torch.float32, device="cpu")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(folder))


def test_a_quantised_model_is_refused_by_its_configuration(tmp_path: Path) -> None:
    folder = edit_config(write_model(tmp_path, "llama"), quantization_config={"quant_method": "fp8"})
    with pytest.raises(ValueError, match="quantization_config is set"):
        folder_dims(folder)
