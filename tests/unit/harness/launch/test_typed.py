"""Whatever is typed gives the run that it asks for, or one line that says what to type instead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.launch.jobs import Functions
from harness.launch.run import main
from harness.records.records import read_run, read_study
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.settings import SYNONYMS, is_setting, paths

CONF = str(Path(__file__).parent / "conf")
ROOT = Path(__file__).resolve().parents[4]
TINY = ["--config-dir", CONF, "model=tiny", "data=tiny"]
STUBS = Functions(
    execute="tests.unit.harness.stubs:execute", ensure_base="tests.unit.harness.stubs:ensure_base"
)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is bad input."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and captured.out == ""
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["seed=true"], "seed=true: true and false are no numbers"),
        (["data.levels=[true]"], "true and false are no numbers"),
        (["seed=interval(0,2)", "-m"], "seed=interval(0,2): no values to run; list them, or use range("),
        (["trainer.lr=glob(*)", "-m"], "glob() lists the options of a group"),
        (["objective=glob(x*)", "-m"], "objective=glob(x*): no option fits; there are cispo"),
        (["data.path=/a=b.jsonl"], """quote it: 'data.path="/a=b.jsonl"'"""),
        (["trainer.lora={rank:", "16,", "alpha:", "32}"], "quote it: 'trainer.lora={rank: 16, alpha: 32}'"),
        (["trainer.steps"], "trainer.steps: not an override; overrides look like trainer.steps=10"),
        (["eval.benchmarks.task=math"], "eval.benchmarks.task=math: no value"),
        (["eval.splits={a: 1}"], "eval.splits={a: 1}: no value"),
        (["model=/a/folder"], "model.path=/a/folder: no such folder"),
        (["model=./a b/x.gguf"], "a b/x.gguf: no such file"),
        (["model=/a/b,/a/c", "-m"], "use model=folder model.path=/a/b"),
        (["data=mine.jsonl"], "data.path=mine.jsonl: No such file"),
        (["lr=1"], "it is trainer.lr here"),
        (["trainer.learning_rate=1"], "it is trainer.lr here"),
        (["objective.beta=1"], "it is objective.kl.coef here"),
        (["rollout.num_generations=1"], "it is rollout.group_size here"),
        (["max_completion_length=1"], "it is rollout.max_new_tokens here"),
        (["--cfg", "job"], "--config prints the resolved settings"),
        (["--info"], "--config prints the resolved settings"),
        (["-cn", "x"], "experiment=NAME"),
        (["--config-path=x"], "--config-dir DIR"),
        (["--hydra-help"], "--help lists the settings"),
        (["--trainer.lr=1e-4"], "a setting has no dashes: trainer.lr=1e-4"),
        (["hydra.searchpath=[file:///x]"], "nothing reads it; use --config-dir DIR"),
        (["hydra.run.dir=x"], "use output_dir=... and study=..."),
        (["hydra.sweep.dir=x", "-m"], "use output_dir=... and study=..."),
        (["hydra.job.name=x"], "use study=..."),
        (["hydra.sweeper.params={a: 1}", "-m"], "list the values: seed=0,1"),
        (["hydra/sweeper=optuna", "-m"], "list the values: seed=0,1"),
        (["hydra.launcher._target_=subprocess.check_output", "-m"], "choose one: hydra/launcher=..."),
        (["hydra/launcher=nope"], "launchers: process, ray, slurm"),
        (["hydra/launcher=process"], "one run starts in this process, without a launcher; add -m"),
        (["hydra.launcher.workers=2"], "one run starts in this process, without a launcher; add -m"),
        (["hydra/launcher=nope", "-m"], "launchers: process, ray, slurm"),
        (["model.kept_text=/nowhere/a%b.txt"], "model.kept_text=/nowhere/a%b.txt: no such file"),
        (["eval.splits=[test,heldout]", "data.num_heldout=0"], "has no problems of the split heldout"),
        ([f"study={'x' * 256}"], "study=xxxx"),
        ([f"objective.name={'é' * 3}{'x' * 250}"], "objective.name"),
        ([f"objective.name={'x' * 250}"], "objective.name, model.name=xxxx"),
        ([f"output_dir=/tmp/{'x' * 256}"], "256 bytes, at most 255; shorten it"),
        (["seed=range(0,20000)", "-m"], "seed=range(0,20000): 20,000 runs"),
        (["seed=range(0,1000000000000)", "-m"], "1,000,000,000,000 runs, and a sweep has at most 10,000"),
        (
            ["trainer.lr=range(1,1000)", "seed=range(0,1000)", "-m"],
            "999 trainer.lr × 1000 seed: 999,000 runs",
        ),
        (
            ["-m", "ablation=diversity,contamination"],
            "error: ablation=diversity,contamination: a launch makes one study; launch one after another",
        ),
    ],
)
def test_what_is_typed_wrong_is_one_line_for_a_launch_and_its_plan(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    for mode in ([], ["--plan"]):
        assert part in refused([*arguments, *mode], capsys)
    assert time.monotonic() - started < 20  # counted before it is expanded


def test_each_synonym_names_a_setting() -> None:
    for theirs, ours in SYNONYMS.items():
        assert is_setting(ours), ours
        assert not is_setting(theirs), theirs


@pytest.mark.parametrize(
    "value", ["true", "[1,{a: 2}]", "null", "''", "${seed}", "1e400", "a/b", "{a: {b: 1}}"]
)
def test_no_setting_answers_a_strange_value_with_a_traceback(value: str) -> None:
    composer = Composer()
    for path in paths(RunConfig):
        try:
            composer.parse([f"{path}={value}"])
            composer.config([f"{path}={value}"])
        except ConfigError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, path


def test_a_glob_lists_the_options_of_its_group() -> None:
    sweep = expand(["objective=glob(*grpo*,exclude=*prm)"], multirun=True)
    assert sweep.factors == {"objective": ["dr_grpo", "grpo", "grpo_format_only", "grpo_process"]}
    assert expand(["model=glob(ladder_x*)"], multirun=True).factors["model"] == [
        "ladder_xl",
        "ladder_xs",
        "ladder_xxl",
    ]
    with pytest.raises(ConfigError, match="add -m"):
        expand(["objective=glob(*grpo*)"], multirun=False)


def test_no_overlay_is_what_null_means() -> None:
    plain, none = (Composer().config(lines) for lines in ([], ["experiment=null", "ablation=null"]))
    assert plain == none


def test_a_larger_sweep_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["-m", "seed=range(0,5)", "--max-runs"]
    assert "5 runs, and a sweep has at most 4; give fewer values, or --max-runs 5" in refused(
        [*few, "4"], capsys
    )
    assert main([*few, "5", "--config"]) == 0


def test_an_alias_bomb_is_refused_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    lines = ["# @package _global_", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "experiment" / "bomb.yaml").write_text("\n".join(lines))
    started = time.monotonic()
    said = refused(["--config-dir", str(tmp_path), "experiment=bomb"], capsys)
    assert "bomb.yaml: " in said and "once its aliases are written out" in said
    assert time.monotonic() - started < 5


def test_a_command_without_arguments_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m harness") and "objective=grpo model=ladder_xs" in said


def test_hydras_switch_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match="objective=gpro"):
        main(["objective=gpro"])


def test_a_plan_of_what_does_not_fit_is_refused_as_its_launch_is(capsys: pytest.CaptureFixture[str]) -> None:
    wide = [
        "hidden_size=4096",
        "num_heads=32",
        "num_kv_heads=32",
        "intermediate_size=65536",
        "num_layers=200",
    ]
    given = ["model=ladder_xxl", *(f"model.dims.{line}" for line in wide), "device=cpu"]
    assert main(given) == 2
    launch = capsys.readouterr().err.splitlines()[-1]
    assert main([*given, "--plan"]) == 2
    captured = capsys.readouterr()
    assert "Memory of a run" in captured.out
    said = captured.err.splitlines()[-1]
    assert said.startswith("error: model=ladder_xxl: a run takes about") and said[:60] == launch[:60]


def test_what_only_a_gpu_does_is_said_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache that the CPU has not is a warning, as the numbers are the same; exact sampling is refused."""
    given = [*TINY, "seed=0", f"output_dir={tmp_path}", "--plan", "rollout.cache=paged"]
    assert main(given) == 0, capsys.readouterr().err
    assert "warning: rollout.cache=paged: it is the cache of the GPU's sampler" in capsys.readouterr().err
    assert main([*given, "rollout.exact=true"]) == 2
    assert capsys.readouterr().err.endswith("this machine shows none; set it to false\n")
    assert main(given[:-1]) == 0
    assert "rollout.cache" not in capsys.readouterr().err


def test_a_run_is_not_shared_out_over_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.launch.plan_times.others_at_work", lambda: 0.0)
    given = [*TINY, f"output_dir={tmp_path}", "--plan", "hydra.launcher.workers=8", "-m"]

    def expected(*more: str) -> str:
        assert main([*given, *more]) == 0
        out = capsys.readouterr().out
        assert "1 runs" not in out and "3 run " not in out
        return next(line for line in out.splitlines() if line.startswith("Expected: "))

    one, three = expected(), expected("seed=0,1,2")
    assert one.endswith("on 1 worker") and three.endswith("on 3 workers")
    assert one.split()[1] == three.split()[1]  # each worker has one run, after the base that all share


def test_a_plan_says_that_tasks_of_lm_eval_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.evaluation.lm_eval_tasks.check_lm_eval", lambda asked: None)  # needs the hub
    given = [*TINY, f"output_dir={tmp_path}", "--plan"]
    assert main(given) == 0 and "Not counted" not in capsys.readouterr().out
    assert main([*given, "eval.lm_eval=[arc_easy,hellaswag]"]) == 0
    assert "Not counted: the time of lm-eval on arc_easy, hellaswag\n" in capsys.readouterr().out


def test_recorded_commands_find_the_groups_again(tmp_path: Path) -> None:
    (tmp_path / "behaviour.json").write_text("{}")
    common = [*TINY, f"output_dir={tmp_path}", "study=s"]
    assert main(["-m", *common, "seed=0,1", "hydra.launcher.workers=2"], functions=STUBS) == 0
    assert f"python -m harness -m --config-dir={CONF} " in read_study(tmp_path / "s").command
    for folder in (tmp_path / "s").glob("*/run.json"):
        assert read_run(folder.parent).overrides[0] == f"--config-dir={CONF}"
    assert main([*common, "seed=7"], functions=STUBS) == 0
    (single,) = (tmp_path / "s").glob("*-s7-*/run.json")
    assert read_run(single.parent).overrides[0] == f"--config-dir={CONF}"


ABLATION = """# @package _global_
study: s
ablation:
  question: q
  factors: {rollout.group_size: [2, 4]}
  seeds: [0, 1]
  control: {rollout.group_size: "2"}
"""


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("  seeds: [0, 1]\n", "", "ablation.seeds: missing; write `seeds: [0, 1, 2]`"),
        ("  question: q\n", "", "ablation.question: missing; write `question: "),
        (
            '  control: {rollout.group_size: "2"}\n',
            "",
            "ablation.control: missing; write `control: {objective:",
        ),
        ("# @package _global_\n", "", "its first line must be `# @package _global_`"),
        (
            "control: {rollout.group_size: ",
            "control: [",
            "ablation.control: input should be a valid dictionary",
        ),
        ("{rollout.group_size: [", "{rollout.group_sze: [", "factors.rollout.group_sze: no setting"),
        (
            "{rollout.group_size: [2, 4]}",
            "{rollout.group_size: {'2': [rollout.group_size=2], '4': [rollout.group_size=4, trainer.lr=1]}}",
            "factors.rollout.group_size: a setting's name, and its levels have overrides of their own",
        ),
        (
            "control: {rollout.group_size",
            "control: {rollout.group_sze",
            "control.rollout.group_sze: not a factor",
        ),
        ("seeds: [0, 1]", "seeds: many", "ablation.seeds=many: input should be a valid list"),
        ("  seeds", "  sedes", "ablation.sedes: no such setting; did you mean seeds"),
        ("ablation:\n", "ablation: 3\nx:\n", ": "),
    ],
)
def test_a_bad_ablation_names_its_file_and_what_to_write(
    old: str, new: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ablation").mkdir()
    path = tmp_path / "ablation" / "mine.yaml"
    text = ABLATION.replace(old, new)
    path.write_text(text.replace('"2"}', '"2"]') if new.endswith("[") and "control" in new else text)
    said = refused(["--config-dir", str(tmp_path), "ablation=mine"], capsys)
    assert part in said and len(said) < 400 and ("'study'" not in said)
    assert str(path) in said or new.startswith("ablation: 3")


def test_a_control_may_be_a_number_and_an_overlay_needs_its_first_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for group in ("ablation", "experiment"):
        (tmp_path / group).mkdir()
    (tmp_path / "ablation" / "mine.yaml").write_text(ABLATION.replace('"2"', "2"))
    sweep = expand(["ablation=mine"], multirun=False, config_dir=str(tmp_path))
    assert sweep.control == {"rollout.group_size": "2"}
    text = ABLATION.replace('"2"}', "2}\n  primary: {factor: rollout.group_size, contrast: 4, path: [2, 4]}")
    (tmp_path / "ablation" / "mine.yaml").write_text(f"{text}  family: [4]\n  nulls: [4]\n")
    spec = expand(["ablation=mine"], multirun=False, config_dir=str(tmp_path)).spec
    assert spec is not None and spec.primary is not None
    assert (spec.primary.contrast, spec.primary.path) == ("4", ["2", "4"])
    assert spec.family == spec.nulls == ["4"] and spec.ceiling is None
    path = tmp_path / "experiment" / "mine.yaml"
    path.write_text("trainer: {steps: 3}\n")
    said = refused(["--config-dir", str(tmp_path), "experiment=mine"], capsys)
    assert f"{path}: its first line must be `# @package _global_`" in said


PIPED = """
import os, sys
sys.path.insert(0, {root!r})
from harness.launch.jobs import Functions
from harness.launch.run import main
stubs = "tests.unit.harness.stubs"
sys.exit(main({arguments!r}, functions=Functions(stubs + ":execute", stubs + ":ensure_base")))
"""


def unread(command: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout nobody reads."""
    read, write = os.pipe()
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(write)
    os.close(read)
    return process.wait(timeout=120), process.communicate()[1]


def test_nobody_reading_is_no_error(tmp_path: Path) -> None:
    """`python -m harness ... | head -1` ends quietly."""
    script = PIPED.format(root=str(ROOT), arguments=["-m", *TINY, "seed=range(0,40)", "--config"])
    assert unread([sys.executable, "-c", script]) == (141, "")


def test_nobody_reading_a_table_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.json").write_text("{}")
    code, said = unread([sys.executable, "-m", "analysis", "list", str(tmp_path)])
    assert code == 141 and "pipe" not in said


@pytest.mark.parametrize("more", [["seed=0"], ["-m", "seed=0,1", "hydra.launcher.workers=1"]])
def test_a_run_goes_on_when_nobody_reads_its_progress(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "behaviour.json").write_text(json.dumps({}))
    arguments = [*TINY, f"output_dir={tmp_path}", "study=s", *more]
    script = PIPED.format(root=str(ROOT), arguments=arguments)
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", script], stdout=write, stderr=write, cwd=ROOT)
    os.close(write)
    os.close(read)
    assert process.wait(timeout=120) in (0, 141)
    found = [read_run(path.parent).status for path in (tmp_path / "s").glob("*/run.json")]
    assert found == ["finished"] * (1 if len(more) == 1 else 2)
