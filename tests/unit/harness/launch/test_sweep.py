"""What a sweep does with runs that finish, fail, are killed, are held, or were done before."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from harness.identity import run_folder
from harness.launch.jobs import Functions
from harness.launch.run import main
from harness.launch.sweep import mark
from harness.records.locks import hold
from harness.records.records import read_run, read_study, write_record
from harness.schema.run_config import validate

CONF = str(Path(__file__).parent / "conf")
STUBS = Functions(
    execute="tests.unit.harness.stubs:execute", ensure_base="tests.unit.harness.stubs:ensure_base"
)


@pytest.fixture
def launch(tmp_path: Path):
    """Launch a sweep of stubs; what each run should do is given by part of its name."""

    def run(*overrides: str, behaviour: dict[str, str] | None = None) -> int:
        (tmp_path / "behaviour.json").write_text(json.dumps(behaviour or {}))
        common = ["--config-dir", CONF, "model=tiny", "data=tiny", f"output_dir={tmp_path}", "study=s"]
        (tmp_path / "calls.txt").write_text("")
        return main(["-m", *common, "hydra.launcher.workers=2", *overrides], functions=STUBS)

    return run


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().split()


def statuses(folder: Path) -> dict[str, str]:
    return {p.parent.name: read_run(p.parent).status for p in sorted((folder / "s").glob("*/run.json"))}


def test_one_damaged_file_costs_its_own_run_alone(launch, tmp_path: Path, capsys) -> None:
    assert launch("seed=0,1,2") == 0
    done = next((tmp_path / "s").glob("*-s1-*/eval/*/.done"))
    done.write_bytes(b"")
    (tmp_path / "s" / "study.json").write_text("{")
    assert launch("seed=0,1,2", "--plan") == 0
    capsys.readouterr()
    assert launch("seed=0,1,2") == 0
    (name,) = calls(tmp_path)
    said = capsys.readouterr().err
    assert f"grpo, tiny, seed 1  to be run again: {done}: not valid JSON" in said and "-s1-" in name
    assert "study.json: made again" in said and "2 skipped" in said
    assert launch("seed=0,1,2") == 0 and calls(tmp_path) == []


def test_bases_are_made_once_and_before_their_runs(launch, tmp_path: Path) -> None:
    assert launch("model=tiny,tiny2", "objective=grpo,sft_rejection", "seed=0,1") == 0
    done = calls(tmp_path)
    bases = [name for name in done if "-b0-" in name]
    # 2 models share base_seed 0: 2 bases; 2 models x 2 objectives x 2 seeds: 8 runs.
    assert len(bases) == len(set(bases)) == 2 and len(done) == 10
    for model in ("tiny", "tiny2"):
        base = next(i for i, name in enumerate(done) if name.startswith(f"{model}-"))
        assert all(i > base for i, name in enumerate(done) if f"-{model}-s" in name)
    study = read_study(tmp_path / "s")
    assert [arm.label for arm in study.arms] == [
        "tiny, grpo",
        "tiny, sft_rejection",
        "tiny2, grpo",
        "tiny2, sft_rejection",
    ]
    assert study.seeds == [0, 1] and study.shared_base
    assert all(set(arm.runs) == {"0", "1"} for arm in study.arms)


def test_a_teacher_that_is_pretrained_here_is_made_once_too(launch, tmp_path: Path) -> None:
    longer = ("objective.teacher={path: null, pretrain_steps: 9}", "seed=0,1,2")
    assert launch("objective=distill", *longer) == 0
    done = calls(tmp_path)
    assert len(done) == 5 and all("-b0-" in name for name in done[:2]) and len(set(done[:2])) == 2


@pytest.mark.parametrize("warm", ["false", "true"])
def test_a_killed_a_failed_and_a_raising_run_cost_themselves_alone(
    launch, warm: str, tmp_path: Path, capsys
) -> None:
    behaviour = {"-s0-": "kill", "-s1-": "fail", "-s2-": "raise", "-s3-": "exit"}
    lines = ("objective=grpo", "seed=0,1,2,3,4", f"hydra.launcher.warm={warm}")
    assert launch(*lines, behaviour=behaviour) == 1
    runs = {
        read_run(p.parent).config["seed"]: read_run(p.parent) for p in (tmp_path / "s").glob("*/run.json")
    }
    assert [runs[seed].status for seed in range(5)] == ["failed"] * 4 + ["finished"]
    assert runs[0].reason == "killed by signal 9"
    assert runs[1].reason == "the loss is NaN"
    assert runs[2].reason == "RuntimeError: out of luck"
    assert "exit code 7" in (runs[3].reason or "")
    said = capsys.readouterr().err
    assert "killed by signal 9" in said and "4 failed, 1 finished" in said
    # Launched again, the finished run is skipped (another commit made it), the others run.
    assert launch("objective=grpo", "seed=0,1,2,3,4") == 0
    assert len(calls(tmp_path)) == 4
    assert "made by commit 0000000000" in capsys.readouterr().err
    assert set(statuses(tmp_path).values()) == {"finished"}
    assert launch("objective=grpo", "seed=0,1,2,3,4") == 0
    assert calls(tmp_path) == []


def test_a_run_that_another_launch_has_is_waited_for(
    launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("harness.launch.workers.HELD_AGAIN", 0.1)
    assert launch("seed=0,1", behaviour={"-s0-": "hold"}) == 0
    said = capsys.readouterr().err
    assert said.count("process 12 on host; waiting for it") == 1 and "2 finished" in said
    assert [name.split("-")[2] for name in calls(tmp_path)].count("s0") == 2


@pytest.mark.parametrize("warm", ["false", "true"])
@pytest.mark.parametrize("action", ["interrupt_parent", "preempt_parent"])
def test_a_signal_stops_the_children_within_seconds_and_records_them(
    launch, action: str, warm: str, tmp_path: Path
) -> None:
    # A shell's background job inherits SIGINT ignored, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lines = ("seed=0,1", f"hydra.launcher.warm={warm}")
    assert launch(*lines, behaviour={"-s1-": action}) == 130
    assert time.time() - float((tmp_path / "struck.txt").read_text()) < 5  # not the 20 s of a hung child
    assert "interrupted" in set(statuses(tmp_path).values())
    assert "running" not in set(statuses(tmp_path).values())


@pytest.mark.parametrize("warm", ["false", "true"])
def test_a_stopped_worker_is_noticed_and_a_busy_one_is_not(launch, warm: str, tmp_path: Path, capsys) -> None:
    lines = ("seed=0,1,2", "hydra.launcher.silence=3", f"hydra.launcher.warm={warm}")
    began = time.monotonic()
    assert launch(*lines, behaviour={"-s0-": "stop", "-s1-": "busy"}) == 1
    assert time.monotonic() - began < 40
    runs = {
        read_run(p.parent).config["seed"]: read_run(p.parent) for p in (tmp_path / "s").glob("*/run.json")
    }
    assert [runs[seed].status for seed in range(3)] == ["failed", "finished", "finished"]
    assert runs[0].reason == "no sign of life for 3 s (hydra.launcher.silence): killed"
    assert "-s0-" in (said := capsys.readouterr().err) and runs[0].reason in said
    assert launch(*lines) == 0 and len(calls(tmp_path)) == 1


def test_a_run_that_another_launch_holds_is_not_this_ones_to_record(launch, tmp_path: Path) -> None:
    assert launch("seed=0") == 0
    (folder,) = (p.parent for p in (tmp_path / "s").glob("*/run.json"))
    record = read_run(folder).model_copy(update={"status": "running"})
    config = validate(record.config)
    write_record(folder / "run.json", record)
    with hold(folder):
        mark(config, "interrupted", "stopped by the user")
        assert read_run(folder).status == "running"
    mark(config, "interrupted", "stopped by the user")
    assert read_run(folder).status == "interrupted"
    never = config.model_copy(update={"seed": 7})
    mark(never, "interrupted", "stopped by the user")
    assert not run_folder(never).exists()


@pytest.mark.parametrize("silence", ["0", "-1", "soon", "true"])
def test_a_silence_that_is_no_time_is_refused(launch, silence: str, capsys) -> None:
    assert launch("seed=0,1", f"hydra.launcher.silence={silence}") == 2
    assert f"error: hydra.launcher.silence={silence}: " in capsys.readouterr().err


def test_a_warm_process_takes_run_after_run_and_is_replaced_when_one_failed(launch, tmp_path: Path) -> None:
    def used() -> list[tuple[str, int, int]]:
        """(model, seed, process number), in order of the runs."""
        found = [line.split() for line in (tmp_path / "processes.txt").read_text().splitlines()]
        (tmp_path / "processes.txt").unlink()
        known = list(dict.fromkeys(line[2] for line in found))
        return [(model, int(seed), known.index(pid)) for model, seed, pid, *_ in found]

    lines = ("objective=grpo", "model=tiny,tiny2", "hydra.launcher.workers=1", "study=w")
    assert launch(*lines, "seed=0,1", "hydra.launcher.warm=true") == 0
    order = used()
    assert [number for *_, number in order] == [0, 0, 0, 0]
    # Runs that share an engine follow each other, whatever the order of the sweep.
    assert order[0][0] == order[1][0] != order[2][0] == order[3][0]
    assert launch(*lines, "seed=5,6", "hydra.launcher.warm=true", behaviour={"-s6-": "fail"}) == 1
    order = used()
    for place, (_, _, number) in enumerate(order):  # a failed run's process takes no other
        assert number == sum(seed == 6 for _, seed, _ in order[:place])
    assert launch(*lines, "seed=10,11") == 0
    assert len({number for *_, number in used()}) == 4  # without `warm` one process a run


def test_each_gpu_has_a_process_of_its_own_that_sees_it_alone(
    launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.launch.launcher.has_gpu", lambda device: True)
    monkeypatch.setattr("harness.launch.launcher.gpus", lambda: ["3", "5"])
    assert launch("objective=grpo", "seed=0,1,2,3,4,5") == 0
    found = {tuple(line.split()[2:]) for line in (tmp_path / "processes.txt").read_text().splitlines()}
    assert sorted(gpu for _, gpu in found) == ["3", "5"] and len({pid for pid, _ in found}) == 2
    # Bases that the CPU pretrains have processes of their own.
    made = [line.split() for line in (tmp_path / "bases.txt").read_text().splitlines()]
    assert made and {device for _, device in made} == {"None"}


def test_processes_may_share_a_gpu(launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.launch.launcher.has_gpu", lambda device: True)
    monkeypatch.setattr("harness.launch.launcher.gpus", lambda: ["3", "5"])
    shared = ("hydra.launcher.per_gpu=2", "hydra.launcher.workers=null")
    assert launch("objective=grpo", "seed=0,1,2,3,4,5,6,7", *shared) == 0
    found = {tuple(line.split()[2:]) for line in (tmp_path / "processes.txt").read_text().splitlines()}
    assert sorted(gpu for _, gpu in found) == ["3", "3", "5", "5"] and len({pid for pid, _ in found}) == 4


MIXED = ("hydra.launcher.workers=null", "hydra.launcher.beside_gpus=2")


def test_cpus_take_whole_seeds_beside_gpus(launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.launch.launcher.has_gpu", lambda device: True)
    monkeypatch.setattr("harness.launch.launcher.gpus", lambda: ["3"])
    assert launch("objective=grpo,sft_rejection", "seed=0,1,2,3,4,5", *MIXED) == 0
    lines = [line.split(" ") for line in (tmp_path / "processes.txt").read_text().splitlines()]
    sides: dict[str, set[str]] = {}
    for _, seed, _, device in lines:
        sides.setdefault(seed, set()).add(device)
    assert all(len(devices) == 1 for devices in sides.values())  # both arms of a seed on one side
    assert {min(devices) for devices in sides.values()} == {"", "3"}


def test_beside_gpus_needs_a_gpu_and_runs_that_may_use_cpus(
    launch, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lines in ((), ("--plan",)):
        assert launch("seed=0,1", *MIXED, *lines) == 2
        assert "hydra.launcher.beside_gpus=2: no GPU is used here; set hydra.launcher.w" in _error(capsys)
    monkeypatch.setattr("harness.launch.launcher.has_gpu", lambda device: True)
    monkeypatch.setattr("harness.launch.launcher.gpus", lambda: ["3"])
    assert launch("seed=0,1", "device=cuda", *MIXED) == 2
    assert "hydra.launcher.beside_gpus=2: device=cuda keeps runs on GPUs; set device=auto" in _error(capsys)


def test_more_seeds_and_arms_join_the_study(launch, tmp_path: Path) -> None:
    assert launch("objective=grpo", "trainer.lr=1e-3,1e-4", "seed=0") == 0
    assert launch("objective=grpo", "trainer.lr=1e-4,1e-5", "seed=0,1") == 0
    study = read_study(tmp_path / "s")
    assert study.factors == {"trainer.lr": ["0.001", "0.0001", "1e-05"]}
    assert {arm.label: sorted(arm.runs) for arm in study.arms} == {
        "lr=0.001": ["0"],
        "lr=0.0001": ["0", "1"],
        "lr=1e-05": ["0", "1"],
    }
    assert study.control == {"trainer.lr": "0.001"}


def test_runs_with_other_settings_are_never_mixed_into_an_arm(launch, tmp_path: Path, capsys) -> None:
    assert launch("objective=grpo,sft_rejection", "seed=0,1") == 0
    assert launch("objective=grpo", "seed=2", "trainer.steps=5") == 2
    assert "varies objective, this sweep varies nothing" in capsys.readouterr().err
    assert launch("objective=grpo,sft_rejection", "seed=2", "trainer.steps=5") == 0
    study = read_study(tmp_path / "s")
    assert [sorted(arm.runs) for arm in study.arms] == [["2"], ["2"]]
    assert "4 runs of an earlier launch had other settings" in study.notes[0]
    assert len(statuses(tmp_path)) == 6


def test_a_plan_says_what_a_launch_would_refuse_or_leave_out(launch, capsys) -> None:
    assert launch("objective=grpo,sft_rejection", "seed=0,1") == 0
    assert launch("trainer.lr=1e-3,1e-4", "--plan") == 2
    assert "varies objective, this sweep varies trainer.lr; give it a name of its own" in _error(capsys)
    assert launch("objective=grpo,sft_rejection", "seed=2", "trainer.steps=5", "--plan") == 0
    assert "4 runs of an earlier launch had other settings" in _error(capsys)
    assert launch("objective=grpo,sft_rejection", "seed=2", "--plan") == 0
    assert "earlier launch" not in _error(capsys)  # more seeds join those that are there


def _error(capsys) -> str:
    return str(capsys.readouterr().err)


def test_a_plan_starts_nothing(tmp_path: Path, capsys) -> None:
    common = ["--config-dir", CONF, "data=tiny", f"output_dir={tmp_path}/out", "study=s"]
    assert main(["--plan", *common, "objective=sft_rejection,grpo", "model=tiny", "seed=0,1,2"]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert "2 arms × 3 seeds, 6 runs" in said
    assert "objective.loss.fn: nll (sft_rejection) | ppo_clip (grpo)" in said
    assert "rollout: shared by all arms" in said
    assert "Smallest difference that 3 seeds detect" in said
    # 24 steps x 32 prompts x 8 samples x 80 tokens
    assert "491,520" in said
