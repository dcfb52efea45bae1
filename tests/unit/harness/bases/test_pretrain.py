"""Bases: made once, the same every time, and never from a loss that is not finite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.bases import pretrain as module
from harness.bases.pretrain import ensure_base
from harness.identity import base_folder, base_id, base_made
from harness.model.files.tokenizer import build_ladder_tokenizer
from harness.records.locks import hold
from harness.records.published import MANIFEST
from harness.records.records import read_base, write_record
from harness.schema.run_config import RunConfig
from harness.training.corpus import encode_corpus, pad
from tests.damage import DAMAGE, flip
from tests.unit.harness.tiny import configure


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def short(folder: Path, *overrides: str) -> RunConfig:
    return configure(f"output_dir={folder}", "model.pretrain.steps=3", *overrides)


def test_a_base_is_made_once_and_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = short(tmp_path / "one"), short(tmp_path / "two")
    folders = [ensure_base(config, quiet) for config in (one, two)]
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    record = read_base(folders[0])
    assert record.base_id == base_id(one) == folders[0].name and record.tokens > 3 * 8
    monkeypatch.setattr(module, "pretrain", lambda *_: pytest.fail("made twice"))
    ensure_base(one, quiet)
    with pytest.raises(pytest.fail.Exception):  # another base seed is another base
        ensure_base(short(tmp_path / "one", "base_seed=1"), quiet)


def test_a_base_whose_weights_are_gone_is_made_again(tmp_path: Path) -> None:
    config = short(tmp_path)
    file = ensure_base(config, quiet) / "model" / "model.safetensors"
    weights = file.read_bytes()
    assert base_made(config)
    file.unlink()
    assert not base_made(config)  # its record, configuration and tokenizer alone are there
    ensure_base(config, quiet)
    assert base_made(config) and file.read_bytes() == weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    config = short(tmp_path_factory.mktemp("whole"))
    ensure_base(config, quiet)
    return config


def model_of(config: RunConfig) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (base_folder(config) / "model").iterdir()}


FILES = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", MANIFEST]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["base.json", *(f"model/{name}" for name in FILES)])
def test_a_damaged_base_is_named_and_made_again(
    name: str,
    damage: str,
    whole: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = whole.model_copy(update={"output_dir": str(tmp_path)})
    folder, made = base_folder(config), base_folder(whole)
    shutil.copytree(made, folder)

    def remake(config: RunConfig, folder: Path, report: object) -> None:
        shutil.copytree(made / "model", folder / "model", dirs_exist_ok=True)
        write_record(folder / "base.json", read_base(made))

    monkeypatch.setattr(module, "pretrain", remake)
    DAMAGE[damage](folder / name)
    old = name == f"model/{MANIFEST}" and damage == "deleted"  # from before there were manifests
    ensure_base(config, quiet)
    said = capsys.readouterr().err
    if not old:
        assert model_of(config) == model_of(whole) and read_base(folder) == read_base(made)
    gone = damage == "deleted" and name in ("base.json", "model/model.safetensors")  # as if never made
    assert (f"warning: {folder}" in said and "the base is made anew" in said) != (old or gone)


def test_a_flipped_bit_in_a_bases_weights_costs_a_base_and_changes_none(
    whole: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = whole.model_copy(update={"output_dir": str(tmp_path)})
    shutil.copytree(base_folder(whole), base_folder(config))
    flip(base_folder(config) / "model" / "model.safetensors")
    ensure_base(config, quiet)
    assert model_of(config) == model_of(whole)
    assert "model.safetensors: its content is not what was written" in capsys.readouterr().err


def test_a_base_of_another_name_in_its_place_is_made_again(
    whole: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = short(tmp_path, "base_seed=1")
    shutil.copytree(base_folder(whole), base_folder(config))
    ensure_base(config, quiet)
    assert model_of(config) != model_of(whole)
    said = capsys.readouterr().err
    assert f"made for owner={base_id(whole)}, not for owner={base_id(config)}" in said


def test_a_diverged_base_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_accumulate", lambda policy, batch: float("nan"))
    config = short(tmp_path)
    with pytest.raises(RuntimeError, match=r"the loss is nan at step 0; lower model\.pretrain\.lr"):
        ensure_base(config, quiet)
    assert not (base_folder(config) / "base.json").exists() and not (base_folder(config) / "model").exists()
    with hold(base_folder(config)):  # and the folder is free again
        pass


def test_where_a_base_is_made_is_part_of_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = short(tmp_path, "model.pretrain.device=cuda")
    assert base_id(on_gpu) != base_id(short(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"model\.pretrain\.device=cuda: no GPU .*; set model\.pretrain\.device=cpu"
    ):
        ensure_base(on_gpu, quiet)
    assert not (base_folder(on_gpu) / "base.json").exists()


def test_documents_are_prompt_and_completion_closed_by_the_end_token(tmp_path: Path) -> None:
    tokenizer = build_ladder_tokenizer()
    for ids, num_prompt in encode_corpus(short(tmp_path), num_documents=5, seed=1):
        assert ids[-1] == tokenizer.token_to_id("<eos>") and 0 < num_prompt < len(ids)
        assert tokenizer.decode(ids[:num_prompt]).endswith("\n")
        assert "boxed" in tokenizer.decode(ids[num_prompt:])


def test_padding_by_hand() -> None:
    input_ids, lengths, mask = pad([([7, 3, 4], 2), ([5, 6], 1)])
    assert input_ids.tolist() == [[7, 3, 4], [5, 6, 0]] and lengths.tolist() == [3, 2]
    assert mask.tolist() == [[False, False, True], [False, True, False]]
