"""What the display says, on a terminal and off it."""

from __future__ import annotations

import io

import pytest

from harness.records.progress import Display, Throttle, duration


def test_plain_lines_say_phases_once_and_endings(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("harness.records.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with Display({"a": 1.0, "b": 3.0}, stream=stream, live=False) as display:
        display.start("a")
        display.update("a", "training", 1, 4, "accuracy 0.5")
        display.update("a", "training", 2, 4)  # same phase, 0 s later: not said
        now[0] += 11
        display.update("a", "training", 3, 4)
        display.update("a", "evaluating step 4", 0, 8)
        display.end("a", "failed", "the loss is NaN")
    assert [line.split("  [")[0] for line in stream.getvalue().splitlines()] == [
        "a  training 1/4: accuracy 0.5",
        "a  training 3/4",
        "a  evaluating step 4 0/8",
        "a  failed: the loss is NaN",
    ]


def test_time_left_of_a_run_that_made_its_base_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.records.progress.time.monotonic", lambda: now[0])
    display = Display({"a": 1.0}, stream=io.StringIO(), live=False)
    display.start("a")
    display.update("a", "pretraining base", 600, 600)
    now[0] = 60.0
    display.update("a", "loading", 0, 1)
    now[0] = 62.0
    display.update("a", "training", 0, 4)
    # A twentieth of the run took 2 s, so 38 s are left; with the base's minute it would say 19 min.
    assert display.time_left() == "about 38s left"


def test_time_left_weighs_jobs_by_their_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.records.progress.time.monotonic", lambda: now[0])
    display = Display({"a": 1.0, "b": 3.0}, stream=io.StringIO(), live=False)
    display.start("a")
    display.end("a", "finished")
    now[0] = 10.0
    # A quarter of the cost took 10 s, so the other three quarters take 30 s.
    assert display.fraction() == 0.25
    assert display.time_left() == "about 30s left"
    display.start("b")
    display.update("b", "training", 1, 2)
    # Half of a run's training lies at 0.05 + 0.7 / 2 = 0.4 of it: (1 + 3 x 0.4) / 4 = 0.55.
    assert display.fraction() == pytest.approx(0.55)


def test_a_base_counts_as_what_it_costs_before_it_starts_and_after() -> None:
    display = Display({"run": 1.0}, stream=io.StringIO(), live=False)
    display.expect({"base": 3.0})
    display.start("run")
    display.end("run", "finished")
    assert display.fraction() == 0.25
    display.start("base")
    display.end("base", "finished")
    assert display.fraction() == 1.0 and display.lines["base"].cost == 3.0


def test_the_live_display_has_a_line_a_running_job_and_one_for_all() -> None:
    from rich.console import Console

    display = Display({"run-a": 1.0, "run-b": 1.0, "run-c": 1.0}, stream=io.StringIO(), live=True)
    display.start("run-a")
    display.update("run-a", "training", 3, 24, "accuracy 0.41")
    display.start("run-b")
    display.lines["run-b"].ended = True
    drawn = io.StringIO()
    Console(file=drawn, width=120, force_terminal=False).print(display.render())
    lines = drawn.getvalue().splitlines()
    assert len(lines) == 2
    assert "run-a" in lines[0] and "3/24" in lines[0] and "accuracy 0.41" in lines[0]
    assert "1/3 done" in lines[1]


def test_throttle_passes_phase_changes_and_the_last() -> None:
    seen: list[tuple[str, int]] = []
    report = Throttle(lambda phase, done, total, note="": seen.append((phase, done)), every=1e9)
    for done in range(1, 5):
        report("training", done, 4)
    report("evaluating", 0, 2)
    assert seen == [("training", 1), ("training", 4), ("evaluating", 0)]


def test_durations_are_short() -> None:
    assert [duration(s) for s in (9.4, 125, 3725)] == ["9s", "2m05s", "1h02m"]


LONG = "sft_rejection_offline, ladder_xs, kl.coef=0.04, advantage.std=population, seed 12"


def test_rows_name_jobs_in_words_and_fit_80_columns() -> None:
    from rich.console import Console

    names = {"grpo-ladder_xs-s3-0a1b2c3d": "grpo, ladder_xs, seed 3", "long": LONG}
    display = Display(dict.fromkeys(names, 1.0), names=names, stream=io.StringIO(), live=True)
    for name in (*names, "ladder_xs-mixed-b0-4a09ffd5"):
        display.start(name)
        display.update(name, "evaluating step 1000", 1234, 5678, "aime_gen_validation_k and more words")
    drawn = io.StringIO()
    Console(file=drawn, width=80, force_terminal=False).print(display.render())
    lines = drawn.getvalue().splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80, "a row that does not fit wraps"
    assert lines[0].startswith("grpo, ladder_xs, seed 3") and "1234/5678" in lines[0]
    assert lines[2].startswith("ladder_xs-mixed-b0 ") and "0a1b2c3d" not in drawn.getvalue()


def test_plain_rows_fit_80_columns_and_endings_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    display = Display({"a": 1.0, "b": 1.0}, names={"a": LONG}, stream=stream, live=False)
    display.start("a")
    display.update("a", "training", 3, 24, "accuracy 0.41, reward 0.5, loss 0.123, length 123.4")
    display.update("a", "pretraining ladder_xs-mixed-b0-4a09ffd5", 3, 24)
    reason = "ValueError: " + "a long reason " * 10
    display.end("a", "failed", reason)
    progress, pretraining, ending = stream.getvalue().splitlines()
    assert len(progress) <= 80 and "  training" in progress and "  [0/2 done, " in progress
    assert "4a09ffd5" not in pretraining
    assert ending == f"{LONG}  failed: {reason}"


def test_a_finished_run_says_what_it_came_to_and_a_failed_one_why() -> None:
    stream = io.StringIO()
    display = Display({"a": 1.0, "b": 1.0}, result=lambda job: f"test of {job}", stream=stream, live=False)
    for job, outcome, note in (("a", "finished", ""), ("b", "failed", "no")):
        display.start(job)
        display.end(job, outcome, note)
    assert stream.getvalue().splitlines() == ["a  finished in 0s: test of a", "b  failed: no"]
