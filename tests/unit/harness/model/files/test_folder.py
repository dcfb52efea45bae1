"""Model folders that are damaged, incomplete or impossible: one line that names the file, beforehand."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.identity import base_id
from harness.launch.compose import Composer
from harness.launch.run import main
from harness.model.dims import num_non_embedding_parameters, num_parameters, weight_shapes
from harness.model.files.folder import chat_template
from harness.model.files.hub import load_pretrained, save_pretrained
from harness.model.files.source import check_model, content
from harness.model.files.teacher_files import teacher_fingerprint
from harness.model.files.tokenizer import save_tokenizer
from harness.model.policy import Policy, init_policy
from harness.schema.run_config import ConfigError, RunConfig
from tests.shapes import model_dims
from tests.unit.harness.tiny import untrained_base

COMPOSER = Composer()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100\n"
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"


def configure(folder: Path, *overrides: str) -> RunConfig:
    return COMPOSER.config(["data=aime_gen_mini", "model=folder", f"model.path={folder}", *overrides])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_base(tmp_path_factory.mktemp("base")) / "model"


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A model in two shards with an index, to damage."""
    target = Path(shutil.copytree(whole, tmp_path / "model"))
    tensors = load_file(target / "model.safetensors")
    shards = {"one.safetensors": {}, "two.safetensors": {}}
    for i, name in enumerate(sorted(tensors)):
        shards[("one", "two")[i % 2] + ".safetensors"][name] = tensors[name]
    for file, part in shards.items():
        save_file(part, target / file, metadata={"format": "pt"})
    named = {name: file for file, part in shards.items() for name in part}
    (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    (target / "model.safetensors").unlink()
    return target


def refused(folder: Path, *templates: str) -> str:
    with pytest.raises(ConfigError) as error:
        check_model(configure(folder).model, {"question", *templates})
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert len(str(error.value)) < 400 + 3 * len(str(folder))
    return str(error.value)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "pointer": lambda path: path.write_bytes(POINTER),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:5]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "fifo": as_fifo,
    "device": as_device,
    "folder": as_folder,
    "link to nothing": as_link_to_nothing,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "file",
    ["config.json", "tokenizer.json", "model.safetensors.index.json", "one.safetensors", "two.safetensors"],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, file: str, damage: str) -> None:
    check_model(configure(folder).model, {"question"})
    DAMAGE[damage](folder / file)
    said = refused(folder)
    # Without its index a folder of shards has no weights that anything names.
    lost = file == "model.safetensors.index.json" and damage == "link to nothing"
    assert ("model.safetensors" if lost else file) in said
    if damage == "pointer":
        assert "git lfs pull" in said


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", ["pointer", "cut", "garbage", "fifo", "folder"])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json"])
def test_a_file_that_need_not_be_there_must_be_whole(folder: Path, file: str, damage: str) -> None:
    (folder / file).write_text(json.dumps({"eos_token_id": 1, "eos_token": "<eos>"}))
    check_model(configure(folder).model, {"question"})
    DAMAGE[damage](folder / file)
    assert file in refused(folder)


def test_a_plan_refuses_what_a_run_would(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "data=aime_gen_mini",
        "model=folder",
        f"model.path={folder}",
        f"output_dir={folder.parent / 'out'}",
    ]
    assert main([*lines, "--plan"]) == 0
    capsys.readouterr()
    for damage in (DAMAGE["pointer"], Path.unlink):
        damage(folder / "two.safetensors")
        for mode in ([], ["--plan"]):
            assert main([*lines, *mode]) == 2
            said = capsys.readouterr().err
            assert str(folder / "two.safetensors") in said or "holds no two.safetensors" in said
    assert not (folder.parent / "out").exists()


MISSING = object()
IMPOSSIBLE: list[tuple[str, Any]] = [
    *(
        (name, value)
        for name in (
            "num_attention_heads",
            "hidden_size",
            "num_hidden_layers",
            "vocab_size",
            "intermediate_size",
        )
        for value in (0, -2, "8", 1.5, True, [8], 10**12, MISSING)
    ),
    *(("num_key_value_heads", value) for value in (0, "2", -1)),
    *(("head_dim", value) for value in (0, "2", 7)),
    *(("max_position_embeddings", value) for value in (None, 0, "x")),
    *(("rms_norm_eps", value) for value in (None, 0, -1.0, "1e-5", math.inf, math.nan)),
    *(("rope_parameters", value) for value in ([1], "x", {"rope_type": "yarn"}, {"rope_type": "llama3"})),
    *(("rope_parameters", {"rope_theta": value}) for value in (0, -1, "x", math.inf)),
    ("rope_parameters", {"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    ("rope_scaling", [1, 2]),
    ("tie_word_embeddings", "false"),
    ("quantization_config", {"quant_method": "fp8"}),
    ("model_type", ["llama"]),
    ("eos_token_id", "x"),
    ("eos_token_id", [1, [2]]),
    ("hidden_act", "gelu"),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_an_impossible_setting_is_named(whole: Path, tmp_path: Path, name: str, value: Any) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text()) | {name: value}
    if value is MISSING:
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    said = refused(folder)
    inner = list(value)[-1] if isinstance(value, dict) else name
    assert "config.json" in said
    assert any(word in said for word in (name, str(inner), "rope_type", "low_freq_factor"))


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"x"', "{", "[" * 100_000, '{"vocab_size": ' + "9" * 5000 + "}"]
)
def test_a_configuration_that_is_no_object_is_refused(whole: Path, tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    (folder / "config.json").write_text(text)
    assert "config.json" in refused(folder)


def test_rope_theta_is_ten_thousand_where_nothing_says_it(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    del config["rope_theta"], config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config))
    dims = load_pretrained(folder, dtype=torch.float32, device="cpu").dims
    assert dims.rope_theta == 10_000.0 and dims.rope_scaling is None


@pytest.mark.parametrize(
    "template",
    [
        [{"template": CHAT}],
        [{"name": "default"}],
        ["x"],
        {"default": CHAT},
        7,
        "{% for m in messages",
        "{{ raise_exception('no') }}",
        "{% for a in range(9999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused_where_it_is_asked_for(
    whole: Path, tmp_path: Path, template: Any
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    assert "chat" in refused(folder, "chat")
    if isinstance(template, str):  # it is not asked for
        check_model(configure(folder).model, {"question", "boxed_answer"})


def test_the_default_of_several_chat_templates_is_taken_and_a_file_goes_first(
    whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    several = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert chat_template(folder) == "a"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several[:1]}))
    assert chat_template(folder) is None
    (folder / "chat_template.jinja").write_text("c")
    assert chat_template(folder) == "c"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_shapes_of_weights_are_the_policy_s(architecture: str, tied: bool) -> None:
    dims = model_dims(
        architecture=architecture, hidden_size=16, num_heads=2, num_layers=2, tie_word_embeddings=tied
    )
    made = Policy(dims, dtype=torch.float32, device="meta").state_dict()
    assert weight_shapes(dims) == {name: tuple(tensor.shape) for name, tensor in made.items()}
    total = sum(tensor.numel() for tensor in made.values())
    assert num_parameters(dims) == total
    assert num_non_embedding_parameters(dims) == total - dims.vocab_size * 16 * (1 if tied else 2)
    assert replace(dims, num_layers=3) != dims


def names(folder: Path) -> tuple[str, str]:
    """A model's base id, and its fingerprint as a teacher."""
    return base_id(configure(folder)), teacher_fingerprint(str(folder))


def test_an_ordinary_folder_is_named_by_its_settings_and_top_weights(folder: Path, whole: Path) -> None:
    """Bases that exist keep their names: the index of a folder whose shards it all names does not count."""
    ours = {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert content(configure(whole).model).keys() == ours | {"model.safetensors"}
    assert content(configure(folder).model).keys() == ours | {"one.safetensors", "two.safetensors"}


def test_models_that_differ_in_a_sub_folder_or_by_their_index_differ_in_name(folder: Path) -> None:
    seen = {names(folder)}
    index = folder / "model.safetensors.index.json"
    (folder / "weights").mkdir()
    shutil.copy(folder / "two.safetensors", folder / "weights" / "two.safetensors")
    named = json.loads(index.read_text())["weight_map"]
    index.write_text(
        json.dumps({"weight_map": {k: v.replace("two", "weights/two") for k, v in named.items()}})
    )
    check_model(configure(folder).model)
    seen.add(names(folder))  # two.safetensors is left out now
    (folder / "two.safetensors").unlink()
    seen.add(names(folder))
    shard = folder / "weights" / "two.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(shard).items()}, shard)
    seen.add(names(folder))
    assert len(seen) == 4 and all(len({pair[i] for pair in seen}) == 4 for i in (0, 1))


def test_an_index_may_not_lead_out_of_the_folder(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    for path in ("../one.safetensors", "/etc/passwd", ""):
        index.write_text(json.dumps({"weight_map": {"x": path}}))
        assert "weight_map" in refused(folder)


def test_a_prompt_with_a_token_outside_the_embedding_is_refused_beforehand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 300  # specials, bytes and characters up to "H"
    folder, problems = tmp_path / "model", tmp_path / "mine.jsonl"
    save_pretrained(init_policy(model_dims(vocab_size=rows), 0), folder, eos_token_ids=(1,))
    save_tokenizer(folder)
    lines = ["data=jsonl", f"data.path={problems}", "data.template=question", "model=folder"]
    lines += [f"model.path={folder}", f"output_dir={tmp_path / 'out'}", "eval.splits=[test]", "--plan"]
    for text, code in (("1+1", 0), ("1+x", 2)):
        asked = [
            {"problem": "2+2", "answer": 4, "split": "train"},
            {"problem": text, "answer": 2, "split": "test"},
        ]
        problems.write_text("".join(json.dumps(row) + "\n" for row in asked))
        assert main(lines) == code
    said = capsys.readouterr().err
    assert "problem mine-2" in said and "(x) is outside the embedding of 300 rows" in said
