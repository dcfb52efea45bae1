"""What each seed of an ablation draws anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.data.load import load_split
from harness.identity import base_id
from harness.launch.draws import pairing
from harness.launch.expand import Sweep, expand
from harness.launch.study import merged_study, write_study
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF

SPEC = {
    "question": "Which?",
    "factors": {"objective": ["sft_rejection", "grpo"]},
    "seeds": [0, 1],
    "control": {"objective": "sft_rejection"},
    "draws": "per_seed",
}


def sweep_of(folder: Path, *more: str, data: str = "tiny", **spec: object) -> Sweep:
    (folder / "conf" / "ablation").mkdir(parents=True, exist_ok=True)
    for name in ("model", "data"):
        if not (folder / "conf" / name).exists():
            (folder / "conf" / name).symlink_to(Path(CONF) / name)
    text = "# @package _global_\n" + yaml.safe_dump({"study": "s", "ablation": SPEC | spec})
    (folder / "conf" / "ablation" / "mine.yaml").write_text(text)
    lines = ["ablation=mine", f"data={data}", "model=tiny", f"output_dir={folder}", *more]
    return expand(lines, multirun=True, config_dir=str(folder / "conf"))


def texts(sweep: Sweep, split: str) -> dict[tuple[str, int], tuple[str, ...]]:
    return {
        (job.config.objective.name, job.config.seed): tuple(
            p.text for p in load_split(job.config.data, split)
        )
        for job in sweep.jobs
    }


def test_each_seed_has_problems_and_a_base_of_its_own_that_arms_share(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    assert [j.config.data.data_seed for j in sweep.jobs] == [0, 1, 0, 1]
    assert {base_id(j.config) for j in sweep.jobs if j.config.seed == 0}.isdisjoint(
        base_id(j.config) for j in sweep.jobs if j.config.seed == 1
    )
    for split in ("train", "validation", "test"):
        found = texts(sweep, split)
        assert found["grpo", 0] == found["sft_rejection", 0] and found["grpo", 1] == found["sft_rejection", 1]
        assert set(found["grpo", 0]) != set(found["grpo", 1]), split
    study = merged_study(sweep, tmp_path / "s", command="")
    assert study.declared["draws"] == "per_seed" and study.declared["pairing"] == "paired"
    assert not study.shared_base
    # A later launch finds its own runs again, and adds a seed.
    again = sweep_of(tmp_path, "seed=2")
    for arm in study.arms:
        for seed, name in arm.runs.items():
            assert again.run_id_of(arm.levels, seed, {}) == name


def test_a_base_may_stay_shared(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, base_seed="shared")
    assert {j.config.base_seed for j in sweep.jobs} == {0} and sweep.shared_base
    assert [j.config.data.data_seed for j in sweep.jobs] == [0, 1, 0, 1]


def test_a_mixture_of_generated_parts_draws_each(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, data="reasoning_general_mini")
    for job in sweep.jobs:
        parts = job.config.data.components
        assert {p.data_seed for p in parts.values()} == {job.config.seed} and len(parts) == 2


def test_fixed_problems_and_a_data_seed_beside_draws_are_errors(tmp_path: Path, monkeypatch) -> None:
    said = "ablation.draws=per_seed with data=gsm8k: the problems of gsm8k are fixed; choose generated ones"
    with pytest.raises(ConfigError, match=said):
        sweep_of(tmp_path, data="gsm8k")
    with pytest.raises(
        ConfigError, match=r"data\.data_seed=3 with ablation\.draws=per_seed, which sets it; drop"
    ):
        sweep_of(tmp_path, "data.data_seed=3")


def test_the_comparison_is_fixed_by_the_design_alone(tmp_path: Path) -> None:
    assert pairing("shared", shared_base=True) == "unpaired"
    assert pairing("shared", shared_base=False) == "paired"
    assert pairing("per_seed", shared_base=True) == "paired"
    sweep = sweep_of(tmp_path, draws="shared")
    assert merged_study(sweep, tmp_path / "s", command="").declared["pairing"] == "unpaired"


def test_a_study_from_before_the_rule_keeps_its_comparison(tmp_path: Path) -> None:
    sweep, folder = sweep_of(tmp_path, draws="shared"), tmp_path / "s"
    old = merged_study(sweep, folder, command="")
    assert old.declared.pop("pairing") == "unpaired"
    write_study(folder, old, needed=True)
    assert "pairing" not in merged_study(sweep, folder, command="").declared


def test_one_seed_of_a_study_is_compared_as_all_of_them(tmp_path: Path) -> None:
    assert sweep_of(tmp_path, "seed=1", draws="shared").shared_base
    assert not sweep_of(tmp_path, "seed=1").shared_base


def test_the_default_changes_no_run(tmp_path: Path) -> None:
    shared = sweep_of(tmp_path, draws="shared")
    plain = sweep_of(tmp_path, "data.data_seed=0", draws="shared")
    assert [j.run_id for j in shared.jobs] == [j.run_id for j in plain.jobs]
