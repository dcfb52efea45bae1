"""Pretrained models: what a config may ask for, what is refused in one line, and identity by content."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from harness.identity import base_id, run_id
from harness.launch import machine_checks
from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.launch.run import main
from harness.model.dims import num_parameters
from harness.model.files import source
from harness.model.files.hub import save_pretrained
from harness.model.files.source import check_model, content, shape
from harness.model.policy import init_policy
from harness.schema.presets import CONF
from harness.schema.run_config import ConfigError, RunConfig
from tests.unit.harness.tiny import untrained_base

COMPOSER = Composer()
PRESETS = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if "\ndims:  " in path.read_text())

# Parameters as the models' cards state them, in billions; embeddings counted once where they are tied.
PUBLISHED = {
    "smollm2_135m": 0.135,
    "smollm2_360m": 0.362,
    "smollm2_1_7b": 1.71,
    "qwen2_5_0_5b": 0.494,
    "qwen2_5_1_5b": 1.54,
    "qwen2_5_7b": 7.62,
    "qwen2_5_32b": 32.8,
    "qwen2_5_math_1_5b": 1.54,
    "qwen2_5_math_7b": 7.62,
    "qwen3_0_6b": 0.596,
    "qwen3_1_7b": 1.72,
    "qwen3_4b": 4.02,
    "qwen3_8b": 8.19,
    "llama3_1_8b": 8.03,
    "r1_distill_qwen_1_5b": 1.78,
    "r1_distill_qwen_7b": 7.62,
    "r1_distill_qwen_14b": 14.8,
    "r1_distill_qwen_32b": 32.8,
    "r1_distill_llama_8b": 8.03,
    "r1_distill_llama_70b": 70.6,
}


def configure(*overrides: str) -> RunConfig:
    return COMPOSER.config(["data=gsm8k", "eval.max_new_tokens=256", *overrides])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return untrained_base(tmp_path / "base") / "model"


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        expand(list(overrides), multirun=False)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_with_the_size_of_its_card(preset: str) -> None:
    config = configure(f"model={preset}")
    dims = shape(config.model.model_copy(update={"package": None}))
    assert dims is not None and config.model.name == preset
    name = preset.removesuffix("_instruct").removesuffix("_base")
    assert num_parameters(dims) / 1e9 == pytest.approx(PUBLISHED[name], rel=0.005)


def test_every_model_of_the_issue_has_a_preset() -> None:
    assert set(PUBLISHED) <= set(PRESETS)
    assert "smollm2_135m_instruct" in PRESETS


def test_what_a_folder_lacks_is_one_line(folder: Path) -> None:
    def refused(*extra: str) -> str:
        return message("model=folder", f"model.path={folder}", "data=gsm8k", *extra)

    assert "no such folder" in message("model=folder", "model.path=/not/here", "data=gsm8k")
    assert "template chat" in refused("data.template=chat") and "chat template" in refused(
        "data.template=chat"
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    assert "'mamba'" in refused() and "llama, qwen2, qwen3" in refused()
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Own"}}))
    assert "trust_remote_code=true" in refused()
    check_model(configure("model=folder", f"model.path={folder}", "model.trust_remote_code=true").model)
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "no vocab_size" in refused()
    (folder / "config.json").unlink()
    assert "holds no config.json" in refused()


def test_a_hub_model_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = message("model=hub", "model.hub_id=nobody/nothing-at-all", "data=gsm8k")
    assert "model.hub_id=nobody/nothing-at-all" in text and "connect to a network" in text


def test_a_preset_that_the_hub_is_not_reached_about_says_its_memory_and_can_be_planned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = message("model=qwen2_5_7b", "data=aime_gen_mini")
    assert text.startswith("qwen2_5_7b: about ") and "GiB" in text and "connect to a network" in text
    lines = ["model=qwen2_5_7b", "data=aime_gen_mini", f"output_dir={tmp_path}"]
    monkeypatch.setattr(machine_checks, "check_fits", lambda config: None)  # memory enough
    assert main([*lines, "--plan"]) == 0
    plan = capsys.readouterr().out
    assert "qwen2_5_7b: about " in plan and "The hub was not reached about qwen2_5_7b" in plan
    assert main(lines) == 2  # the same, launched
    assert main(["model=hub", "model.hub_id=nobody/nothing-at-all", "data=aime_gen_mini", "--plan"]) == 2


def test_gguf_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.gguf"

    def refused() -> str:
        return message("model=gguf", f"model.path={file}", "data=gsm8k")

    assert "no such file" in refused()
    file.write_bytes(b"not one at all")
    assert "not a GGUF file" in refused()
    file.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(8) + b"\x05" + bytes(7))
    assert "cut short" in refused()
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    assert "pip install gguf" in refused()


def test_settings_of_another_source_are_refused() -> None:
    assert "model.pretrain" in message("model=smollm2_135m", "experiment=smoke")
    assert "path=null" in message("model=folder", "model.path=null", "data=gsm8k")
    assert "vocab_size=40" in message("model.dims.vocab_size=40")
    assert "no chat template" in message("data.template=chat")


def test_a_base_is_named_by_what_its_files_hold(folder: Path, tmp_path: Path) -> None:
    def name(path: Path, *extra: str) -> str:
        return base_id(configure("model=folder", f"model.path={path}", *extra))

    copy = shutil.copytree(folder, tmp_path / "copy")
    assert name(copy) == name(folder) == name(folder, "base_seed=1", "corpus=clean", "dtype=bfloat16")
    (copy / "README.md").write_text("not the model")
    assert name(copy) == name(folder)
    dims = shape(configure("model=folder", f"model.path={copy}").model)
    assert dims is not None
    save_pretrained(init_policy(dims, 1), copy, eos_token_ids=(1,))
    assert name(copy) != name(folder)


def test_the_hub_s_own_hashes_are_taken_from_its_cache(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        blob = blobs / ("ab" * 20 if path.suffix == ".json" else "cd" * 32)
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(blob)
    found = content(configure("model=folder", f"model.path={snapshot}").model)
    assert found["model.safetensors"] == "cd" * 32 and found["config.json"] == "ab" * 20


@pytest.mark.skipif(
    "MATH_DATA_DIR" not in os.environ, reason="needs MATH_DATA_DIR: a run's name depends on its problems"
)
def test_the_text_that_kept_is_measured_on_is_part_of_a_run(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one")
    given = ["model=folder", f"model.path={folder}"]
    first = run_id(configure(*given, f"model.kept_text={text}"))
    assert first != run_id(configure(*given))
    text.write_text("two and more")
    assert run_id(configure(*given, f"model.kept_text={text}")) != first
    assert "no such file" in message(*given, f"model.kept_text={tmp_path / 'none'}")


def test_presets_state_every_dimension() -> None:
    for preset in PRESETS:
        found = yaml.safe_load((CONF / "model" / f"{preset}.yaml").read_text())
        assert found["dims"]["vocab_size"] > 40_000, preset


def test_a_hub_model_in_the_local_cache_needs_no_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    cache, commit = tmp_path / "cache", "0123456789abcdef0123456789abcdef01234567"
    home = cache / "models--owner--name"
    snapshot = home / "snapshots" / commit
    for made in (home / "refs", home / "blobs", snapshot):
        made.mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    for i, path in enumerate(sorted(folder.iterdir())):
        blob = home / "blobs" / f"{i:064x}"
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(blob)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    config = configure("model=hub", "model.hub_id=owner/name")
    check_model(config.model)
    assert source.fetch(config.model).resolve() == snapshot.resolve()
    assert all(len(value) == 64 for value in content(config.model).values())
    assert shape(config.model) == shape(configure("model=folder", f"model.path={folder}").model)
    (snapshot / "model.safetensors").unlink()  # a download that was broken off
    with pytest.raises(ConfigError, match="connect to a network"):
        check_model(config.model)
