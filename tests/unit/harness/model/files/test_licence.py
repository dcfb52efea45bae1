"""The licence of a base: where it is read, and which source has the first word."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch.compose import Composer
from harness.model.files.licence import KNOWN, front_matter, licence
from harness.schema.model_config import ModelConfig
from harness.schema.presets import CONF

COMPOSER = Composer()
PRESETS = sorted(
    path.stem
    for path in (CONF / "model").glob("*.yaml")
    if "hub_id: " in path.read_text() and path.stem != "hub"
)


def model(**values: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": "m", "source": "hub", **values})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_known_licence(name: str, tmp_path: Path) -> None:
    found = licence(COMPOSER.config([f"model={name}", "data.template=question"]).model, tmp_path)
    assert found in set(KNOWN.values())
    assert (found == "llama3.1") == name.startswith("llama3")


def test_a_card_beside_the_weights_has_the_first_word(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlicense: cc-by-4.0\ntags: [a]\n---\n# A model\n---\nlicense: mit\n"
    )
    assert licence(model(hub_id="Qwen/Qwen3-0.6B"), tmp_path) == "cc-by-4.0"
    assert licence(model(source="folder", path="/somewhere"), tmp_path) == "cc-by-4.0"


@pytest.mark.parametrize(
    "text",
    ["", "# A model\n", "---\nlicense: [\n---\n", "---\n- a\n---\n", "words\n---\nlicense: mit\n---\n"],
)
def test_a_card_without_settings_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert front_matter(tmp_path / "README.md") == {}
    assert licence(model(hub_id="someone/else"), tmp_path) is None


def test_a_ladder_model_and_an_unknown_one_have_none(tmp_path: Path) -> None:
    assert licence(COMPOSER.config(["model=ladder_xs"]).model, tmp_path) is None
    assert licence(model(hub_id="Qwen/Qwen2-0.5B"), tmp_path) is None
