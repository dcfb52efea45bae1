"""Settings that a pretrained model calls for, where nothing was given; models and data by their place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import identity
from harness.launch import job_checks
from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.launch.pretrained import num_weights, pretrained_warnings, purpose, usual_rate
from harness.launch.run import main
from harness.schema.model_config import ModelConfig
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.settings import as_meant
from tests.unit.harness.tiny import untrained_base

CHAT = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
ROWS = [
    {"problem": f"{i}+{i}", "answer": 2 * i, "solution": "because " * (40 if i < 3 else 10), "split": "train"}
    for i in range(20)
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(identity, "content", lambda model: {"weights": model.name})
    monkeypatch.setattr(job_checks, "_check_model", lambda config: None)
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def first(*overrides: str, config_dir: str | None = None) -> RunConfig:
    lines = ["data=jsonl", "data.path=own.jsonl", *overrides]
    return expand(lines, multirun=False, config_dir=config_dir).jobs[0].config


def settings(config: RunConfig) -> tuple[Any, ...]:
    lengths = (config.rollout.max_new_tokens, config.eval.max_new_tokens)
    sampling = (config.eval.temperature, config.eval.top_p)
    return config.data.template, *lengths, *sampling, f"{config.trainer.lr:g}"


def test_the_toy_ladder_keeps_its_own() -> None:
    config = first("data.families=[gcd]", "data.levels=[1]")
    assert settings(config) == ("question", 80, 80, 1.0, 1.0, "0.0001")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("smollm2_135m", ("question", 1024, 1024, 0.6, 0.95, "1e-05")),
        ("smollm2_135m_instruct", ("chat", 1024, 1024, 0.6, 0.95, "1e-05")),
        ("qwen2_5_7b", ("question", 1024, 1024, 0.6, 0.95, "1e-06")),
        ("qwen3_0_6b", ("chat", 4096, 4096, 0.6, 0.95, "1e-06")),
        ("qwen3_0_6b_base", ("question", 1024, 1024, 0.6, 0.95, "1e-06")),
        ("r1_distill_qwen_1_5b", ("chat", 4096, 4096, 0.6, 0.95, "1e-06")),
    ],
)
def test_a_preset_gets_what_it_calls_for(model: str, expected: tuple[Any, ...]) -> None:
    assert settings(first(f"model={model}")) == expected


def test_what_is_given_anywhere_stays(folder: Path) -> None:
    model = "model=smollm2_135m_instruct"
    # The toy's own values, typed: they are what was asked for.
    typed = ["data.template=question", "rollout.max_new_tokens=80", "eval.max_new_tokens=80"]
    typed += ["eval.temperature=1.0", "trainer.lr=1e-4"]
    assert settings(first(model, *typed)) == ("question", 80, 80, 1.0, 1.0, "0.0001")
    own = folder / "conf"
    overlay = "# @package _global_\nrollout: {max_new_tokens: 80}\ndata: {template: question}\n"
    inherited = "defaults:\n  - default\n  - _self_\n"
    for group, content in (
        ("experiment", overlay),
        ("trainer", f"{inherited}lr: 3.0e-4\n"),
        ("eval", f"{inherited}top_p: 0.9\n"),
    ):
        (own / group).mkdir(parents=True)
        (own / group / "mine.yaml").write_text(content)
    config = first(model, "experiment=mine", "trainer=mine", "eval=mine", config_dir=str(own))
    assert settings(config) == ("question", 80, 1024, 1.0, 0.9, "0.0003")


def test_they_are_overrides_of_the_run_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = expand(["model=qwen2_5_0_5b_instruct", "data=jsonl", "data.path=own.jsonl"], multirun=False)
    lines = list(sweep.jobs[0].overrides)
    assert lines[:6] == list(sweep.composer.defaults)
    assert lines[0] == "data.template=chat"
    assert Composer().config(lines) == sweep.jobs[0].config  # as a worker composes it
    arguments = ["model=qwen2_5_0_5b_instruct", "data=own.jsonl", "--config"]
    assert main(arguments) == 0
    assert (
        "defaults of a pretrained model, unless you set them: data.template=chat" in capsys.readouterr().err
    )


def stages_of(folder: Path, made: dict[str, list[str]], *more: str) -> dict[str, tuple[Any, ...]]:
    """Settings of each stage of a pipeline, and by which template it is measured."""
    (folder / "conf" / "pipeline").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"pipeline": {"name": "mine", "stages": made}})  # which is YAML too
    (folder / "conf" / "pipeline" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    lines = ["data=jsonl", "data.path=own.jsonl", "model=smollm2_135m_instruct", "pipeline=mine", *more]
    job = expand(lines, multirun=False, config_dir=str(folder / "conf")).jobs[0]
    composer = Composer(str(folder / "conf"))
    assert composer.configs(job.overrides) == [stage.config for stage in job.stages]  # as a worker does
    return {
        stage.config.stage.name: (*settings(stage.config), stage.config.measured_data.template)
        for stage in job.stages
        if stage.config.stage
    }


def test_stages_of_a_pipeline_get_what_a_run_gets(folder: Path) -> None:
    made = {"sft": ["objective=sft_rejection"], "rl": ["objective=grpo"]}
    whole = ("chat", 1024, 1024, 0.6, 0.95, "1e-05", "chat")
    assert stages_of(folder, made) == {"sft": whole, "rl": whole}
    # What one stage sets stays, and the others get the default; what all are given is nobody's default.
    made["sft"] += ["trainer.lr=5e-4", "rollout.max_new_tokens=80"]
    assert stages_of(folder, made) == {"sft": ("chat", 80, 1024, 0.6, 0.95, "0.0005", "chat"), "rl": whole}
    given = ("data.template=question", "pipeline.rl.trainer.lr=3e-5", "eval.temperature=1")
    assert stages_of(folder, made, *given) == {
        "sft": ("question", 80, 1024, 1.0, 1.0, "0.0005", "question"),
        "rl": ("question", 1024, 1024, 1.0, 1.0, "3e-05", "question"),
    }
    lora = [*made["rl"], "trainer.lora={rank: 8, alpha: 16}"]
    assert stages_of(folder, {**made, "rl": lora})["rl"][5] == "0.0001"


def test_a_teachers_stage_has_its_own_rate_and_the_pipelines_template(folder: Path) -> None:
    made = {
        "teacher": ["start=base", "model=qwen2_5_7b", "objective=grpo"],
        "sft": ["start=base", "objective=distill", "objective.teacher.stage=teacher"],
    }
    assert stages_of(folder, made) == {
        "teacher": ("chat", 1024, 1024, 0.6, 0.95, "1e-06", "chat"),
        "sft": ("chat", 1024, 1024, 0.6, 0.95, "1e-05", "chat"),
    }


def test_a_template_of_one_stage_alone_leaves_none_to_measure_by(folder: Path) -> None:
    made = {"sft": ["objective=sft_rejection", "data.template=boxed_answer"], "rl": ["objective=grpo"]}
    with pytest.raises(ConfigError, match=r"data\.template: a stage of the pipeline sets it"):
        stages_of(folder, made)
    assert stages_of(folder, made, "pipeline.rl.data.template=chat")["rl"][0] == "chat"


@pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
def test_the_shipped_pipelines_of_a_pretrained_model_set_their_own(folder: Path) -> None:
    lines = ["data=jsonl", "data.path=own.jsonl", "pipeline=smollm2_r1_zero", "eval.splits=[]"]
    config = expand(lines, multirun=False).jobs[0].config
    assert settings(config) == ("r1_zero", 256, 256, 1.0, 1.0, "3e-05")


@pytest.mark.parametrize(
    ("hub_id", "kind", "size"),
    [
        ("owner/Llama-3.2-1B-Instruct", "chat", 1e9),
        ("owner/model-1.5B", "base", 1.5e9),
        ("owner/gemma-2b-it", "chat", None),
        ("owner/SmolLM2-360M", "base", 360e6),
        ("owner/DeepSeek-R1-Distill-Qwen-7B", "thinking", 7e9),
        ("Qwen/Qwen3-4B-Instruct-2507", "chat", 4e9),
        ("Qwen/Qwen3-4B-Base", "base", 4e9),
        ("Qwen/Qwen3-4B", "thinking", 4e9),
        ("owner/phi3", "base", None),
    ],
)
def test_a_name_on_the_hub_says_what_a_model_is_for(hub_id: str, kind: str, size: float | None) -> None:
    model = ModelConfig(name="m", source="hub", hub_id=hub_id)
    assert purpose(model) == kind and num_weights(model) == size


def test_a_folders_chat_template_decides(folder: Path) -> None:
    place = untrained_base(folder / "base") / "model"
    model = ModelConfig(name="m", source="folder", path=str(place))
    assert purpose(model) == "base"
    settings_file = place / "tokenizer_config.json"
    found = json.loads(settings_file.read_text()) if settings_file.exists() else {}
    settings_file.write_text(json.dumps({**found, "chat_template": CHAT}))
    assert purpose(model) == "chat"
    settings_file.write_text(json.dumps({**found, "chat_template": CHAT + "<think>"}))
    assert purpose(model) == "thinking"
    # Positions of the folder's model: 256, so an output may have 128.
    assert settings(first("model=folder", f"model.path={place}"))[:3] == ("chat", 128, 128)


def test_adapters_take_ten_times_the_rate() -> None:
    lora = first("model=qwen2_5_7b", "trainer.lora={rank: 8, alpha: 16}")
    assert usual_rate(lora) == pytest.approx(1e-5) and lora.trainer.lr == pytest.approx(1e-5)
    assert pretrained_warnings(lora) == []


@pytest.mark.parametrize(
    ("model", "rate", "low_high"),
    [
        ("smollm2_135m", "1e-4", ""),
        ("smollm2_135m", "1.1e-4", "135M parameters 1e-06 to 0.0001"),
        ("qwen2_5_7b", "1e-5", ""),
        ("qwen2_5_7b", "1e-4", "7,616M parameters 1e-07 to 1e-05"),
        ("qwen2_5_7b", "1e-8", "7,616M parameters 1e-07 to 1e-05"),
    ],
)
def test_a_rate_that_nobody_uses_is_said(model: str, rate: str, low_high: str) -> None:
    found = pretrained_warnings(first(f"model={model}", f"trainer.lr={rate}"))
    assert (found == []) == (low_high == "") and all(low_high in text for text in found)


def test_solutions_that_do_not_fit_are_counted() -> None:
    """3 of 20 solutions have 40 × 8 = 320 letters, 100 tokens at 3.2 a token; the others 80, 25 tokens."""
    short = first("model=smollm2_135m", "rollout.max_new_tokens=99")
    (text,) = pretrained_warnings(short)
    assert text.startswith("rollout.max_new_tokens=99: about 15 % of 20 reference solutions of data=jsonl")
    assert "about 100 tokens hold 98 %" in text
    assert pretrained_warnings(first("model=smollm2_135m", "rollout.max_new_tokens=100")) == []


def test_models_and_data_by_their_place_are_what_is_meant(folder: Path) -> None:
    options = Composer().options

    def meant(*lines: str) -> list[str]:
        return as_meant(lines, options)

    assert meant("seed=1", "model=ladder_s") == ["seed=1", "model=ladder_s"]
    hub = ["model=hub", "model.hub_id=owner/My-Model", "model.name=My-Model"]
    assert meant("model=owner/My-Model") == hub
    assert meant("model=owner/My-Model", "model.name=m") == [*hub[:2], "model.name=m"]
    assert meant("model=HuggingFaceTB/SmolLM2-135M") == ["model=smollm2_135m"]  # one of ours
    assert meant("model=/a/b") == ["model=folder", "model.path=/a/b", "model.name=b"]
    assert meant("model=~/x/m.gguf") == ["model=gguf", "model.path=~/x/m.gguf", "model.name=m"]
    (folder / "owner" / "here").mkdir(parents=True)
    assert meant("model=owner/here") == ["model=folder", "model.path=owner/here", "model.name=here"]
    assert meant("data=own.jsonl") == ["data=jsonl", "data.path=own.jsonl"]
    assert meant("data=owner/set") == ["data=hub", "data.hub_id=owner/set"]
    assert meant("data=./a b/c.jsonl") == ["data=jsonl", "data.path='./a b/c.jsonl'"]
    for line in ("model=laddder", "model=a/b,c/d", "model=[a/b]", "data=gsm8k", "modl=a/b"):
        assert meant(line) == [line]
