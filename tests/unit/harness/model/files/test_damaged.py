"""Model folders from before there were manifests: damage is named, with what to delete."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.model.files.codec import Codec
from harness.model.files.hub import copy_tokenizer, load_pretrained
from harness.records.published import publish
from harness.rollout.engines import engine_key
from tests.damage import DAMAGE, flip
from tests.unit.harness.tiny import configure, untrained_base

NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]


# A flipped bit leaves a file that can be read; the end token stands in config.json, too.
@pytest.mark.parametrize("damage", [damage for damage in DAMAGE if damage != "a flipped bit"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_base_is_named_with_its_remedy(name: str, damage: str, tmp_path: Path) -> None:
    folder = untrained_base(tmp_path / "bases" / "xs-1") / "model"
    DAMAGE[damage](folder / name)
    if (name, damage) == ("tokenizer_config.json", "deleted"):
        assert Codec.from_folder(folder).eos_token_ids
        return
    with pytest.raises(ValueError) as caught:
        load_pretrained(folder, dtype=torch.float32, device="cpu")
        Codec.from_folder(folder)
    said = str(caught.value)
    assert said.startswith(f"{folder}: cannot be read (") and "\n" not in said
    assert said.endswith(f"delete {folder} and launch again: the base is made anew")


def test_a_manifest_is_checked_by_whoever_loads_the_folder(tmp_path: Path) -> None:
    made = untrained_base(tmp_path / "made") / "model"
    folder = tmp_path / "checkpoints" / "step_000004"
    publish(folder, lambda target: [p.rename(target / p.name) for p in made.iterdir()], identity={})
    config = configure("model=ladder_xs")
    loaders = [
        lambda: load_pretrained(folder, dtype=torch.float32, device="cpu"),
        lambda: Codec.from_folder(folder),
        lambda: engine_key(config, folder, "cpu"),
    ]
    for load in loaders:
        load()
    flip(folder / "model.safetensors")
    for load in loaders:
        with pytest.raises(ValueError, match=r"model\.safetensors: its content is not what was written"):
            load()


@pytest.mark.parametrize("damage", ["deleted", "a folder"])
def test_a_tokenizer_that_is_gone_is_not_left_out_of_a_copy(damage: str, tmp_path: Path) -> None:
    folder = untrained_base(tmp_path / "bases" / "xs-1") / "model"
    DAMAGE[damage](folder / "tokenizer.json")
    with pytest.raises(ValueError, match=r"xs-1/model: cannot be read .*tokenizer\.json"):
        copy_tokenizer(folder, tmp_path)
