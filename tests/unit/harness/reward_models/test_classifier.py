"""A reward model is trained once; one that is not what was written is trained anew, or named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.records.published import MANIFEST, Damaged
from harness.reward_models.classifier import trained_once
from tests.damage import DAMAGE


class Head(nn.Linear):
    """Stands in for a value model: `fit` gives it one value everywhere."""

    def __init__(self) -> None:
        super().__init__(16, 16)
        self.num_fits = 0

    def fit(self) -> dict[str, object]:
        self.num_fits += 1
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(0.25)
        return {"metrics": {"rm_auc": 0.75}}


def once(folder: Path, owner: str = "run-a") -> Head:
    model = Head()
    assert trained_once(folder, model, model.fit, owner=owner) == {"metrics": {"rm_auc": 0.75}}
    assert all(bool((p == 0.25).all()) for p in model.parameters())
    return model


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["model.pt", "made.json", MANIFEST])
def test_a_damaged_model_is_named_and_trained_anew(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reward_model"
    assert once(folder).num_fits == 1 and once(folder).num_fits == 0
    whole = (folder / "model.pt").read_bytes()
    DAMAGE[damage](folder / name)
    old = name == MANIFEST and damage == "deleted"  # as a model from before there were manifests
    assert once(folder).num_fits == (0 if old else 1)
    assert once(folder).num_fits == 0 and (folder / "model.pt").read_bytes() == whole
    assert (f"warning: {folder}" in capsys.readouterr().err) != old


def test_the_model_of_another_run_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once(tmp_path / "reward_model", "run-b")
    assert once(tmp_path / "reward_model", "run-a").num_fits == 1
    assert "made for owner=run-b, not for owner=run-a" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [d for d in DAMAGE if d != "a flipped bit"])
@pytest.mark.parametrize("name", ["model.pt", "made.json"])
def test_damage_of_an_old_model_is_named_with_a_remedy_that_works(
    name: str, damage: str, tmp_path: Path
) -> None:
    folder = tmp_path / "reward_model"
    once(folder)
    (folder / MANIFEST).unlink()
    DAMAGE[damage](folder / name)
    model = Head()
    with pytest.raises(Damaged) as caught:
        trained_once(folder, model, model.fit, owner="run-a")
    assert str(caught.value).startswith(f"{folder / name}: cannot be read (")
    assert str(caught.value).endswith(f"delete {folder} and launch again: it is made anew")
    DAMAGE["deleted"](folder)
    assert once(folder).num_fits == 1
