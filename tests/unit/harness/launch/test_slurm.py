"""What a launch on Slurm decides, against a queue in memory whose jobs end as a script says."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.identity import base_folder
from harness.launch import slurm, slurm_queue, slurm_submit
from harness.launch.attach import table
from harness.launch.expand import expand
from harness.launch.run import main
from harness.launch.signals import Left, Preempted
from harness.launch.slurm import run_on_slurm
from harness.launch.slurm_submit import Array, arrays, with_gpu
from harness.launch.worker import Outcome, Work
from harness.launch.works import works_of
from harness.records.cluster_jobs import (
    JobState,
    RunState,
    Submission,
    Submissions,
    jobs_folder,
    read_state,
    read_submissions,
    write_state,
    write_submissions,
)
from harness.records.progress import Display
from harness.schema.launcher_config import SlurmSettings, read_launcher
from harness.schema.presets import CONF as SHIPPED
from harness.schema.run_config import ConfigError
from tests.unit.harness.launch.test_sweep import CONF, STUBS


def settings(**changes: object) -> SlurmSettings:
    import yaml

    fields = yaml.safe_load((SHIPPED / "hydra" / "launcher" / "slurm.yaml").read_text())
    found = read_launcher({**fields, "poll": 0.001, "settle": 0, **changes})
    assert isinstance(found, SlurmSettings)
    return found


def works(folder: Path, *lines: str, minutes: float = 1.0) -> list[Work]:
    """A base, then a run for each seed, each of so many minutes."""
    given = ["model=tiny", "data=tiny", f"output_dir={folder}", "study=s", *lines]
    sweep = expand(given, multirun=True, config_dir=CONF)
    costs = {job.run_id: 60 * minutes for job in sweep.runs}
    return works_of(sweep.runs, flags=(), functions=STUBS, costs=costs)


class Queue:
    """A Slurm: at each look it runs the first job that may go, as `script` says of each run's tries."""

    def __init__(self, study: Path, script: dict[str, list[str]]) -> None:
        self.study, self.script = study, {part: list(tries) for part, tries in script.items()}
        self.works: dict[str, list[str]] = {}
        self.needs: dict[str, list[str]] = {}
        self.states: dict[str, tuple[str, str]] = {}
        self.cancelled: list[str] = []
        self.ran: list[str] = []
        self.looks = self.idle = 0  # idle: so many looks at first find it doing nothing

    def submit(self, array: Array, settings: SlurmSettings, study: Path) -> dict[str, Submission]:
        needs, batches = array
        made = {}
        for at, batch in enumerate(batches):
            job = f"{len({j.split('_')[0] for j in self.states}) + (at == 0)}_{at}"
            self.works[job], self.needs[job] = [work.name for work in batch], needs
            self.states[job] = ("PENDING", "Priority")
            made[job] = Submission(
                runs=self.works[job], needs=needs, log="log", submitted="now", by="process 1 on a"
            )
        return made

    def look(self, name: str) -> dict[str, tuple[str, str]]:
        assert name == "r1-s"
        self.looks += 1
        assert self.looks < 200, "it goes on for ever"
        waiting = [
            j for j, (state, _) in self.states.items() if state == "PENDING" and self.looks > self.idle
        ]
        for job in waiting:
            if {self.states[need][0] for need in self.needs[job]} <= {"COMPLETED"}:
                self.states[job] = (self.run(job), "None")
                break
        for job in waiting:
            if {self.states[need][0] for need in self.needs[job]} - {"COMPLETED", "PENDING", "RUNNING"}:
                self.states[job] = ("CANCELLED", slurm_queue.NEVER)
        return dict(self.states)

    def run(self, job: str) -> str:
        said = JobState(host="n1")
        for name in self.works[job]:
            tries = next((tries for part, tries in self.script.items() if part in name), [])
            action = tries.pop(0) if tries else "finished"
            self.ran.append(name)
            said.runs[name] = RunState(phase="training", done=1, total=2)
            if action != "killed" and action != "running":
                said.runs[name] = RunState(
                    outcome=action, reason="the loss is NaN" if action == "failed" else ""
                )
            write_state(jobs_folder(self.study), job, said)
            if action == "killed":
                return "OUT_OF_MEMORY"
            if action == "running":
                return "RUNNING"
        return "FAILED" if any(row.outcome == "failed" for row in said.runs.values()) else "COMPLETED"

    def cancel(self, jobs: set[str]) -> bool:
        self.cancelled += sorted(jobs)
        self.states |= dict.fromkeys(jobs, ("CANCELLED", "None"))
        return True


@pytest.fixture
def launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Outcome], Queue]]:
    """Run works against a queue: outcomes by part of a name, and the queue."""

    def run(
        found: list[Work],
        queue: Queue | None = None,
        script: dict[str, list[str]] | None = None,
        **changes: object,
    ) -> tuple[dict[str, Outcome], Queue]:
        queue = queue or Queue(tmp_path / "s", script or {})
        monkeypatch.setattr(slurm, "states", queue.look)
        monkeypatch.setattr(slurm, "submit", queue.submit)
        monkeypatch.setattr(slurm, "cancel", queue.cancel)
        monkeypatch.setattr(slurm, "HELD_AGAIN", 0.0)
        with Display({}) as display:
            ended = run_on_slurm(found, settings(**changes), display=display, study=tmp_path / "s")
        return {part(name): outcome for name, outcome in ended.items()}, queue

    return run


def part(name: str) -> str:
    """`b0`, `s1`: a base's or a run's own part of its name."""
    return name.split("-")[-2]


def test_a_base_goes_first_and_its_runs_depend_on_it(launch, tmp_path: Path) -> None:
    found, queue = launch(works(tmp_path, "seed=0,1,2"), pack_minutes=0)
    assert found == dict.fromkeys(("b0", "s0", "s1", "s2"), ("finished", ""))
    assert queue.needs == {"1_0": [], "2_0": ["1_0"], "2_1": ["1_0"], "2_2": ["1_0"]}
    assert part(queue.ran[0]) == "b0"
    listed = read_submissions(tmp_path / "s").jobs
    assert list(listed) == ["1_0", "2_0", "2_1", "2_2"] and listed["2_1"].needs == ["1_0"]


def test_a_killed_job_costs_its_run_and_is_tried_again(launch, tmp_path: Path, capsys) -> None:
    script = {"-s1-": ["killed", "killed"]}
    found, queue = launch(works(tmp_path, "seed=0,1,2"), script=script, pack_minutes=0, retries=2)
    assert {outcome for outcome, _ in found.values()} == {"finished"}
    assert [part(name) for name in queue.ran].count("s1") == 3 and len(queue.ran) == 6
    assert "its job 2_1 ended without a result (out_of_memory); try 2 of 3" in capsys.readouterr().err


def test_a_run_that_kills_each_of_its_jobs_fails_with_the_last_ones_log(launch, tmp_path: Path) -> None:
    found, queue = launch(
        works(tmp_path, "seed=0,1"), script={"-s1-": ["killed"] * 9}, pack_minutes=0, retries=1
    )
    assert found["s0"] == ("finished", "")
    outcome, reason = found["s1"]
    assert outcome == "failed" and [part(name) for name in queue.ran].count("s1") == 2
    # Arrays 1 (the base) and 2 (both runs), then 3: the second try.
    log = jobs_folder(tmp_path / "s") / "3_0_0_log.out"
    assert reason == f"its job 3_0 ended without a result (out_of_memory), the last of 2 tries; see {log}"


def test_a_failed_run_is_not_tried_again(launch, tmp_path: Path) -> None:
    found, queue = launch(works(tmp_path, "seed=0,1"), script={"-s1-": ["failed"]}, pack_minutes=0)
    assert found["s1"] == ("failed", "the loss is NaN") and len(queue.ran) == 3


def test_a_killed_base_takes_its_runs_along_to_its_second_job(launch, tmp_path: Path) -> None:
    found, queue = launch(works(tmp_path, "seed=0,1"), script={"-b0-": ["killed"]}, pack_minutes=0, retries=1)
    assert {outcome for outcome, _ in found.values()} == {"finished"}
    # The runs of array 2 never began, which is no try of theirs; they depend on job 3_0 now.
    assert [part(name) for name in queue.ran] == ["b0", "b0", "s0", "s1"]
    assert [queue.needs[job] for job in queue.needs if job.startswith("4_")] == [["3_0"], ["3_0"]]


def test_runs_of_a_failed_base_try_it_themselves(launch, tmp_path: Path) -> None:
    found, queue = launch(works(tmp_path, "seed=0,1"), script={"-b0-": ["failed"]}, pack_minutes=0)
    assert found["b0"][0] == "failed" and found["s0"] == found["s1"] == ("finished", "")
    assert [queue.needs[job] for job in queue.needs if job.startswith("3_")] == [[], []]


def test_in_a_shared_job_the_run_under_way_counts_and_those_after_it_do_not(launch, tmp_path: Path) -> None:
    script = {"-s1-": ["killed"], "-s2-": ["killed"]}
    found, queue = launch(works(tmp_path, "seed=0,1,2,3"), script=script, pack_minutes=60, retries=1)
    assert {outcome for outcome, _ in found.values()} == {"finished"}
    assert [part(name) for name in queue.ran] == ["b0", "s0", "s1", "s1", "s2", "s2", "s3"]


def test_a_held_run_is_submitted_again_and_no_try(launch, tmp_path: Path) -> None:
    script = {"-s1-": ["held", "held", "finished"]}
    found, queue = launch(works(tmp_path, "seed=0,1"), script=script, pack_minutes=0, retries=0)
    assert found["s1"] == ("finished", "") and [part(name) for name in queue.ran].count("s1") == 3


def test_a_second_launch_follows_what_runs_and_submits_the_rest(launch, tmp_path: Path, capsys) -> None:
    all_works = works(tmp_path, "seed=0,1,2")
    queue = Queue(tmp_path / "s", {})
    named = {part(work.name): work for work in all_works}
    # Another launch has the base in job 1_0, seed 1 in 2_0 (running), and had seed 2 in a job that is over.
    for batch, needs in (([named["b0"]], []), ([named["s1"]], ["1_0"]), ([named["s2"]], [])):
        made = queue.submit((needs, [batch]), settings(), tmp_path / "s")
        listed = read_submissions(tmp_path / "s")
        listed.jobs |= made
        write_submissions(tmp_path / "s", listed)
    queue.states["3_0"], queue.idle = ("CANCELLED", "None"), 3
    found, queue = launch(all_works, queue, pack_minutes=0)
    assert {outcome for outcome, _ in found.values()} == {"finished"}
    assert sorted(part(name) for name in queue.ran) == ["b0", "s0", "s1", "s2"]
    said = capsys.readouterr().err
    assert said.count("followed") == 2 and "submitted 2 runs as jobs 4_0 to 4_1" in said


def test_a_job_that_someone_cancels_is_interrupted(launch, tmp_path: Path) -> None:
    queue = Queue(tmp_path / "s", {"-s1-": ["running"]})
    look = queue.look

    def cancel_later(name: str) -> dict[str, tuple[str, str]]:
        found = look(name)
        running = [job for job, (state, _) in found.items() if state == "RUNNING"]
        if running and queue.looks > 10:
            queue.states[running[0]] = ("CANCELLED", "None")
        return found

    queue.look = cancel_later
    found, _ = launch(works(tmp_path, "seed=0,1"), queue, pack_minutes=0)
    assert found["s0"] == ("finished", "")
    assert found["s1"][0] == "interrupted" and found["s1"][1].endswith("was cancelled; launch again to go on")


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (Preempted("stopped by SIGTERM"), Left)]
)
def test_ctrl_c_cancels_its_jobs_and_another_signal_leaves_them(
    launch, error: BaseException, raised: type[BaseException], tmp_path: Path, monkeypatch, capsys
) -> None:
    queue = Queue(tmp_path / "s", {"-s0-": ["running"]})

    def strike(seconds: float) -> None:
        if any(state == "RUNNING" for state, _ in queue.states.values()) and not queue.cancelled:
            raise error

    monkeypatch.setattr("harness.launch.slurm.time.sleep", strike)
    with pytest.raises(raised) as caught:
        launch(works(tmp_path, "seed=0"), queue)
    assert type(caught.value) is raised
    said = capsys.readouterr().err
    if raised is Left:
        assert not queue.cancelled and "jobs go on; launch again to follow them" in said
    else:
        assert queue.cancelled == ["2_0"] and "cancelling 1 jobs; their runs save first" in said


def test_a_controller_that_does_not_answer_is_waited_for(launch, tmp_path: Path, capsys) -> None:
    queue = Queue(tmp_path / "s", {})
    look = queue.look

    def silent(name: str) -> dict[str, tuple[str, str]] | None:
        found = look(name)
        return None if 2 < queue.looks < 5 else found

    queue.look = silent
    found, _ = launch(works(tmp_path, "seed=0"), queue)
    assert found["s0"] == ("finished", "") and len(queue.ran) == 2
    assert "squeue does not answer" in capsys.readouterr().err


def test_a_refused_submission_is_an_error_at_first_and_waited_for_later(launch, tmp_path: Path) -> None:
    queue = Queue(tmp_path / "s", {"-s0-": ["killed"]})
    submit, calls = queue.submit, []

    def refuse(array: Array, given: SlurmSettings, study: Path) -> dict[str, Submission]:
        calls.append(array)
        if len(calls) in refused:
            raise ConfigError("hydra/launcher=slurm: invalid partition")
        return submit(array, given, study)

    queue.submit = refuse
    refused = {1}
    with pytest.raises(ConfigError, match="invalid partition"):
        launch(works(tmp_path, "seed=0"), queue)
    calls.clear()
    refused = {3}  # the killed run's second job
    found, _ = launch(works(tmp_path, "seed=0"), queue)
    assert found["s0"] == ("finished", "") and len(calls) == 4


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("sbatch: error: Invalid generic resource (gres) specification", False),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy", True),
    ],
)
def test_runs_are_waited_for_only_where_slurm_may_take_them_later(
    launch, tmp_path: Path, said: str, passes: bool
) -> None:
    """The base is accepted, and the runs after it are refused, three times if that is worth while."""
    queue, calls = Queue(tmp_path / "s", {}), []
    submit = queue.submit

    def refuse(array: Array, given: SlurmSettings, study: Path) -> dict[str, Submission]:
        calls.append(array)
        if 1 < len(calls) < 5:
            raise ConfigError(f"hydra/launcher=slurm: {said}")
        return submit(array, given, study)

    queue.submit = refuse
    if passes:
        found, _ = launch(works(tmp_path, "seed=0"), queue)
        assert found["s0"] == ("finished", "") and len(calls) == 5
    else:
        with pytest.raises(ConfigError, match=r"gres.*; what was submitted before goes on \(scancel 1_0"):
            launch(works(tmp_path, "seed=0"), queue)
        assert len(calls) == 2


def test_short_runs_are_packed_and_what_others_wait_for_is_not(tmp_path: Path) -> None:
    found = {work.name: work for work in works(tmp_path, "seed=0,1,2,3,4", minutes=3.0)}
    runs = [name for name, work in found.items() if not work.is_base]
    (base,) = found.keys() - set(runs)
    # 3 runs of 3 minutes fit into 10; the other two share the next job.
    ((needs, batches),) = arrays(found, runs, {base: "7"}, settings(pack_minutes=10))
    assert needs == ["7"] and [len(batch) for batch in batches] == [3, 2]
    for changes in ({"pack_minutes": 0}, {"processes": 2}, {"nodes": 2}):
        ((_, batches),) = arrays(found, runs, {}, settings(**changes))
        assert [len(batch) for batch in batches] == [1] * 5, changes
    waits = {
        name: replace(found[name], stages=(runs[0],)) if name != runs[0] else found[name] for name in runs
    }
    sizes = sorted(len(batch) for _, batches in arrays(waits, runs, {}, settings()) for batch in batches)
    assert sizes == [1, 1, 3]  # the stage alone; four others of 3 minutes: 3 and 1


def test_a_gpu_is_asked_for_where_the_device_is_not_the_cpu(tmp_path: Path) -> None:
    (auto,) = (w for w in works(tmp_path, "seed=0") if not w.is_base)
    (cpu,) = (w for w in works(tmp_path, "seed=0", "device=cpu") if not w.is_base)
    assert with_gpu(auto, settings()) and with_gpu(auto, settings(gpus=1))
    assert not with_gpu(auto, settings(gpus=0)) and not with_gpu(cpu, settings())
    assert not with_gpu(replace(auto, on_cpu=True), settings())


def test_what_is_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitit writes the script; `sbatch` here keeps it and answers as Slurm does."""
    pytest.importorskip("submitit")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", f'cp "$1" {tmp_path}/script; echo Submitted batch job 12'), ("srun", ":")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    runs = [work for work in works(tmp_path, "seed=0,1") if not work.is_base]
    asked = settings(partition="gpu", processes=2, mem_gb=16, sbatch={"exclude": "n7"}, timeout_min=30)
    made = slurm_submit.submit((["10", "11_0"], [[run] for run in runs]), asked, tmp_path / "s")
    assert [one.runs for one in made.values()] == [[run.name] for run in runs]
    assert list(made) == ["12_0", "12_1"] and made["12_0"].needs == ["10", "11_0"]
    lines = (tmp_path / "script").read_text().splitlines()
    for line in (
        "--dependency=afterok:10:11_0",
        "--kill-on-invalid-dep=yes",
        "--requeue",
        "--signal=USR2@120",
        "--gpus-per-node=2",
        "--ntasks-per-node=2",
        "--cpus-per-task=1",
        "--mem=16GB",
        "--time=30",
        "--partition=gpu",
        "--exclude=n7",
        "--job-name=r1-s",
        "--array=0-1%2",
    ):
        assert f"#SBATCH {line}" in lines, line


def test_a_cluster_without_such_gpus_is_one_line_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    says = "sbatch: error: Invalid generic resource (gres) specification"
    for name, text in (("sbatch", f"echo '{says}' >&2; exit 1"), ("srun", ":")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (run,) = (work for work in works(tmp_path, "seed=0") if not work.is_base)
    for changes, more in (({}, "; a job asks for a GPU unless device=cpu: "), ({"gpus": 0}, "")):
        with pytest.raises(ConfigError) as refused:
            slurm_submit.submit(([], [[run]]), settings(**changes), tmp_path / "s")
        assert str(refused.value).partition(says)[2][: len(more) or None] == more
    assert capsys.readouterr().err == ""


def test_states_are_read_and_a_failing_command_is_no_empty_queue(tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho '12_0|RUNNING|None'\necho '13|PENDING|Resources, or|so'\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert slurm_queue.states("r1-s") == {"12_0": ("RUNNING", "None"), "13": ("PENDING", "Resources, or|so")}
    program.write_text("#!/bin/sh\nexit 1\n")
    assert slurm_queue.states("r1-s") is None
    program.unlink()
    assert slurm_queue.states("r1-s") is None and not slurm_queue.cancel(["1"])
    assert slurm_queue.cancel([])
    assert slurm_queue.lives(("COMPLETING", "None")) and not slurm_queue.lives(("NODE_FAIL", "None"))
    assert not slurm_queue.lives(("PENDING", slurm_queue.NEVER)) and not slurm_queue.lives(None)


def test_attach_shows_the_last_job_of_each_run(tmp_path: Path) -> None:
    study = tmp_path / "s"
    one = Submission(runs=["a", "b"], log="jobs/1_0_log.out", submitted="now", by="process 1 on a")
    listed = Submissions(
        jobs={"1": one, "2": one.model_copy(update={"runs": ["b"], "log": "jobs/2_0_log.out"})}
    )
    write_submissions(study, listed)
    write_state(jobs_folder(study), "1", JobState(runs={"a": RunState(outcome="failed", reason="no luck")}))
    write_state(jobs_folder(study), "2", JobState(runs={"b": RunState(phase="training", done=3, total=9)}))
    rows = [line.split("  ") for line in table(study, listed, {"2": ("RUNNING", "None")})]
    assert [[cell.strip() for cell in row if cell] for row in rows[1:]] == [
        ["a", "1", "over", "failed: no luck", "jobs/1_0_log.out"],
        ["b", "2", "running", "training 3/9", "jobs/2_0_log.out"],
    ]
    assert read_state(jobs_folder(study), "9") == JobState()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"signal_delay_s": 60, "timeout_min": 1},
            "signal_delay_s=60: before a job of 1 min begins",
        ),
        ({"gpus": 4}, "gpus=4: a process uses one GPU; give processes=4"),
        ({"retry": 1}, "hydra.launcher.retry: no such setting; did you mean retries"),
        ({"name": "pbs"}, "hydra.launcher.name=pbs: choose hydra/launcher=process or slurm or ray"),
    ],
)
def test_settings_that_cannot_be_are_one_line(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**changes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_no_base_is_submitted_that_is_made(launch, tmp_path: Path) -> None:
    from tests.unit.harness.stubs import ensure_base

    config = works(tmp_path, "seed=0")[0].config
    ensure_base(config, lambda *_: None)
    assert base_folder(config).exists()
    found, queue = launch(works(tmp_path, "seed=0"))
    assert found == {"s0": ("finished", "")} and queue.needs == {"1_0": []}


@pytest.mark.parametrize(("device", "there"), [("auto", "cuda"), ("cpu", "cpu")])
def test_a_plan_for_a_cluster_says_nothing_of_this_machine(
    device: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(slurm, "check_installed", lambda: None)
    lines = ["model=tiny", "data=tiny", f"output_dir={tmp_path}", "study=s", f"device={device}", "seed=0,1,2"]
    for launcher, free in ((["hydra/launcher=slurm", "hydra.launcher.max_jobs=2"], False), ([], True)):
        assert main(["--config-dir", CONF, "--plan", *lines, *launcher]) == 0
        said = capsys.readouterr().out
        assert (" free on the " in said) is free
        assert launcher == [] or (f"GiB on the {there}: " in said and "on 2 workers" in said)
