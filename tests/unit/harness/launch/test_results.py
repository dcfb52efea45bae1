"""Runs in words: their names, and what a finished one says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.identity import base_folder, run_folder
from harness.launch.jobs import Job
from harness.launch.results import ending, flag_lines, headline, run_name, run_names, sync_lines
from harness.records.records import write_record
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_measured import AFTER, BEFORE, evaluation, run_record
from tests.unit.harness.tiny import configure


def job(levels: dict[str, str], *overrides: str) -> Job:
    return Job(overrides, levels, configure(*overrides))


def test_names_are_the_arms_levels_and_the_seed() -> None:
    both = {"objective": "grpo", "trainer.weight_decay": "0.1"}
    assert run_name(job(both, "seed=3", "trainer.weight_decay=0.1")) == "grpo, weight_decay=0.1, seed 3"
    assert run_name(job({}, "objective=dapo")) == "dapo, ladder_xs, seed 0"
    assert run_name(job({}, "trainer.lr=3e-4", "replicate=2"), with_rate=True).endswith(
        ", lr=0.0003, seed 0, replicate 2"
    )


def test_a_name_that_two_runs_would_share_keeps_its_hash() -> None:
    one, other = job({"objective": "grpo"}), job({"objective": "grpo"}, "trainer.steps=9")
    alone = job({"objective": "grpo"}, "seed=1")
    names = run_names([one, other, alone])
    assert names[one.run_id] == f"grpo, seed 0 ({one.run_id[-8:]})" != names[other.run_id]
    assert names[alone.run_id] == "grpo, seed 1"


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A run with test numbers by hand: 62.5 % where the base has 37.5 %, greedy 75 and 50 %."""
    found = configure(f"output_dir={tmp_path}")
    folder, base = run_folder(found), base_folder(found)
    write_record(folder / "run.json", run_record(run_id=folder.name, base_id=base.name))
    after, before = evaluation(AFTER), evaluation(BEFORE, step=0)
    write_record(folder / "eval" / "step_000002-aaaa1111" / "aime_gen_test_k.json", after)
    write_record(base / "eval" / "base-aaaa1111" / "aime_gen_test_k.json", before)
    return found


def test_a_single_run_ends_with_its_accuracy_its_folder_and_the_next_command(config: RunConfig) -> None:
    lines = ending(config)
    assert lines[0] == "test avg@2: 62.5 %, base 37.5 %, +25.0 [−20.9, +70.9] points"
    assert lines[1].startswith("test greedy: 75.0 %, base 50.0 %, +25.0 [")
    assert lines[-2] == f"results: {run_folder(config)}"
    assert lines[-1] == f"next: python -m analysis report {run_folder(config).parent}"
    assert headline(config) == "test 62.5 %, base 37.5 %"


def test_runs_recorded_offline_end_with_what_sends_them(tmp_path: Path) -> None:
    configs = [configure(f"output_dir={tmp_path}", f"seed={seed}") for seed in (0, 1)]
    folders = [run_folder(config) for config in configs]
    assert sync_lines(configs) == []
    for folder in folders:
        (folder / "wandb" / "offline-run-1-a").mkdir(parents=True)
    said = "W&B, recorded offline: wandb sync"
    assert sync_lines(configs[:1]) == [f"{said} {folders[0]}/wandb/offline-run-*"]
    assert sync_lines(configs) == [f"{said} {folders[0].parent}/*/wandb/offline-run-*"]
    (folders[0] / "wandb" / "offline-run-1-a" / "run-a.wandb.synced").touch()
    assert sync_lines(configs[:1]) == []
    elsewhere = configure(f"output_dir={tmp_path}", f"tracking.dir={tmp_path / 'w'}")
    write_record(folders[0] / "run.json", run_record(run_id=folders[0].name, wandb_id="mine"))
    (tmp_path / "w" / "wandb" / "offline-run-2-mine").mkdir(parents=True)
    assert sync_lines([elsewhere]) == [f"{said} {tmp_path}/w/wandb/offline-run-*-mine"]


def test_numbers_that_cannot_be_read_are_left_to_the_report(config: RunConfig) -> None:
    (path,) = run_folder(config).glob("eval/*/*.json")
    path.write_text("{")
    assert headline(config) == "" and len(ending(config)) == 2
    (run_folder(config) / "run.json").unlink()
    assert headline(config) == ""


def test_flags_of_runs_are_counted_at_the_end(tmp_path: Path) -> None:
    """Two of three runs had no reward variance, one of them was cut throughout; the fourth never ran."""
    configs = [configure(f"output_dir={tmp_path}", f"seed={seed}") for seed in range(4)]
    flags = (["no_reward_variance"], ["all_truncated", "no_reward_variance"], [])
    for config, found in zip(configs, flags, strict=False):
        run_folder(config).mkdir(parents=True)
        record = run_record(run_id=run_folder(config).name, flags=found)
        write_record(run_folder(config) / "run.json", record)
    assert flag_lines(configs) == [
        "flagged: all_truncated (1 run), no_reward_variance (2 runs); what to try: harness/README.md#flags"
    ]
    assert flag_lines(configs[2:]) == [] and ending(configs[0])[-3].startswith("flagged: no_reward")
