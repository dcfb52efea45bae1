"""The command line: `python -m harness`, installed as `r1-run`. Heavy imports wait until they are needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from harness.launch.options import COMMANDS, EXAMPLES, ROOT, SWEEP, parse_arguments, parser
from harness.records.reasons import is_disk_full, reason_of

if TYPE_CHECKING:
    from harness.launch.expand import Sweep
    from harness.launch.jobs import Functions, Job
    from harness.records.progress import Display

FINISHED, FAILED, BAD_INPUT, HELD, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None, *, functions: Functions | None = None) -> int:
    """Exit code of one command; `functions` replaces what a job calls (tests)."""
    _own_packages_first()
    if os.environ.get(SWEEP):
        os.environ.setdefault("WANDB_MODE", "online")  # a sweep's server waits for its runs
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answered(arguments, functions)
    except BrokenPipeError:
        from harness.records.progress import nobody_reads

        return nobody_reads()


def _answered(arguments: list[str], functions: Functions | None) -> int:
    """Run a command and say in one line what ended it. Raises BrokenPipeError where nobody reads that."""
    from harness.launch.signals import was_interrupt

    try:
        code = _command(arguments, functions)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, RuntimeError) as error:
        if not was_interrupt(error):
            raise
        print("interrupted; launch again to go on", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        from harness.records.reading import visible

        print(f"error: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = is_disk_full(error)
        print(
            f"error: {reason_of(error) if full else where + (error.strerror or str(error))}", file=sys.stderr
        )
        return FAILED


def _command(arguments: list[str], functions: Functions | None) -> int:
    """Run one command; without any argument it only says how to use it, since a run takes minutes."""
    if not arguments:
        print(parser().format_usage() + EXAMPLES, file=sys.stderr)
        return BAD_INPUT
    try:
        if arguments[0] in COMMANDS:
            from harness.launch.jobs import load

            return int(load(COMMANDS[arguments[0]][0])(arguments[1:]))
        options, overrides = parse_arguments(arguments)
    except SystemExit:  # --help: it may go to a program that reads no more
        sys.stdout.flush()
        raise
    if options.version:
        print(_version())
        return FINISHED
    return _run(options, overrides, functions)


def _own_packages_first() -> None:
    """Take the current folder off the path, where `python -m` puts it: it may hold a package `analysis`."""
    here = os.path.realpath(os.getcwd())
    if here != str(ROOT):
        sys.path[:] = [p for p in sys.path if os.path.realpath(p or here) != here]


def _run(options: argparse.Namespace, overrides: list[str], functions: Functions | None) -> int:
    """Compose every run, warn, then print the configs or go on to `_launch`."""
    from harness.launch.compose import Composer
    from harness.launch.expand import expand
    from harness.launch.launchers import check_launcher
    from harness.model.files.source import planning
    from harness.schema.own_function import forget
    from harness.schema.settings import as_meant

    forget()
    if options.assume and not options.plan:
        raise ValueError(f"--assume {options.assume[0]}: it is about a plan; add --plan")
    overrides = as_meant(overrides, Composer(options.config_dir).options)
    with planning() if options.plan else nullcontext():
        most = {} if options.max_runs is None else {"max_runs": options.max_runs}
        sweep = expand(
            overrides, multirun=options.multirun or options.plan, config_dir=options.config_dir, **most
        )
        check_launcher(sweep, alone=not _is_sweep(sweep, options))
        _check_torchrun(sweep)
        if given := " ".join(sweep.composer.defaults):
            print(f"defaults of a pretrained model, unless you set them: {given}", file=sys.stderr)
        _warn(sweep)
        if not options.plan:
            _say_design(sweep)
        if options.config:
            return _print_configs(sweep)
        return _launch(sweep, options, overrides, functions)


def _launch(
    sweep: Sweep, options: argparse.Namespace, overrides: list[str], functions: Functions | None
) -> int:
    """Plan or run, in one of three ways: a sweep after its pilot, a sweep, or one run in this process."""
    from harness.launch.installed import check_engine, check_trackers
    from harness.launch.jobs import Functions
    from harness.launch.machine_checks import check_machine
    from harness.launch.match import check_match, matched_sweep
    from harness.launch.pilot import pilot_of, plan_with_pilot, run_with_pilot
    from harness.launch.signals import installed
    from harness.launch.sweep import plan, run_sweep, simulated
    from harness.launch.until import plan_lines, rule_of, run_until

    folder, calls = options.config_dir, functions or Functions()
    check_match(sweep.spec, sweep.jobs)
    rule = rule_of(sweep)
    started = None if options.plan else calls
    with nullcontext() if options.plan else installed():
        sweep = matched_sweep(sweep, overrides, config_dir=folder, functions=started)
    pilot = pilot_of(sweep, overrides, config_dir=folder)
    if options.plan:
        with_pilot = pilot and plan_with_pilot(sweep, pilot, overrides=overrides, config_dir=folder)
        more = ["", plan_lines(sweep, rule)] if rule else []
        more += ["", *simulated(sweep, options.assume)] if options.assume else []
        print("\n".join([with_pilot or plan(sweep), *more]), flush=True)
    check_machine(sweep)
    check_trackers(sweep)
    if options.plan:
        return FINISHED
    check_engine(sweep)
    with installed():
        if pilot is not None:
            return run_with_pilot(sweep, pilot, overrides=overrides, config_dir=folder, functions=calls)
        if rule is not None:
            return run_until(sweep, rule, overrides=overrides, config_dir=folder, functions=calls)
        if _is_sweep(sweep, options):
            return run_sweep(sweep, overrides=overrides, functions=calls)
        return _run_one(sweep, calls)


def _is_sweep(sweep: Sweep, options: argparse.Namespace) -> bool:
    """Whether a launcher starts the runs, and not this process its only one: a cluster's always does."""
    from harness.launch.launchers import is_local

    with_pilot = sweep.spec is not None and sweep.spec.lr_grid is not None
    if len(sweep.jobs) > 1 or options.multirun or sweep.factors or with_pilot:
        return True
    return not is_local(sweep)


def _check_torchrun(sweep: Sweep) -> None:
    """Raises ValueError for a sweep under torchrun, or a run that so many processes cannot share."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return
    from harness.launch.status import finished

    if (number := sum(finished(job.config) is None for job in sweep.runs)) > 1 or len(sweep.jobs) > 1:
        raise ValueError(
            f"{max(number, len(sweep.jobs))} runs under torchrun: its processes share one run; give each run "
            "a torchrun (of a pipeline one stage after another: stage=NAME), or launch the sweep without (it "
            "takes every GPU)"
        )
    from harness.training.distributed import check_supported

    check_supported(sweep.jobs[0].config, processes)


def _say_design(sweep: Sweep) -> None:
    from harness.launch.levels import gap_lines

    for line in gap_lines(sweep.spec, sweep.factors, sweep.control):
        print(f"design: {line}", file=sys.stderr)


def _warn(sweep: Sweep) -> None:
    from harness.data.load import left_out
    from harness.data.references import check_references
    from harness.launch.machine_checks import machine_warnings
    from harness.launch.pretrained import pretrained_warnings
    from harness.schema.run_config import config_warnings
    from harness.schema.unread import unread

    configs = [job.config for job in sweep.runs]
    found = [setting.message for setting in unread(configs) if setting.warn]
    found += [text for config in configs for text in (*config_warnings(config), *left_out(config.data))]
    solved = [c for c in configs if c.objective.uses_references]
    for config in {(c.data.model_dump_json(), c.objective.model_dump_json()): c for c in solved}.values():
        found += check_references(config)
    seen = {(c.model, c.data.name, c.trainer.lr, c.rollout.max_new_tokens): c for c in configs}
    found += [text for config in seen.values() for text in pretrained_warnings(config)]
    found += machine_warnings(sweep)
    for text in dict.fromkeys(found):
        print(f"warning: {text}", file=sys.stderr)


def _print_configs(sweep: Sweep) -> int:
    from harness.schema.config_text import config_text

    for job in sweep.runs:
        print(f"# {job.run_id}")
        print(config_text(job.config))
    return FINISHED


def _run_one(sweep: Sweep, functions: Functions) -> int:
    """Run the only job in this process, a pipeline's stages in order. Returns the exit code."""
    from harness.launch.results import run_names
    from harness.records.progress import Display

    runs = sweep.jobs[0].stages
    with Display({job.run_id: 1.0 for job in runs}, names=run_names(runs)) as display:
        for job in runs:
            outcome = _run_stage(job, display, functions, sweep.composer.flags)
            if outcome not in ("finished", "skipped"):
                return HELD if outcome == "held" else FAILED
    return FINISHED


def _run_stage(job: Job, display: Display, functions: Functions, flags: Sequence[str]) -> str:
    """Run one job in this process unless it is finished. Returns the outcome."""
    from harness.launch.jobs import load
    from harness.launch.results import ending, run_name
    from harness.launch.status import decide, decision_text
    from harness.records.progress import Throttle
    from harness.records.reading import visible

    action, note = decide(job.config)
    if text := decision_text(action, note):
        print(f"{run_name(job)}  {visible(text)}", file=sys.stderr)
    if action == "skip":
        return "skipped"
    execute: Callable[..., str] = load(functions.execute)
    last_note = ""
    display.start(job.run_id)
    forward = Throttle(display.reporter(job.run_id))

    def report(phase: str, done: int, total: int, note: str = "") -> None:
        nonlocal last_note
        last_note = note
        forward(phase, done, total, note)

    outcome = execute(job.config, overrides=[*flags, *job.overrides], report=report)
    display.end(job.run_id, outcome, last_note if outcome != "finished" else "")
    if outcome == "finished" and os.environ.get("RANK", "0") == "0":  # one of torchrun's processes says it
        display.say("\n".join(ending(job.config)))
    return outcome


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("r1-ablations")
    except PackageNotFoundError:
        return "r1-ablations (not installed)"
