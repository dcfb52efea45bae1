"""The command line: `python -m harness`, installed as `r1-run`. Heavy imports wait until they are needed."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.reasons import is_disk_full, reason_of

if TYPE_CHECKING:
    from harness.launch.expand import Sweep
    from harness.launch.jobs import Functions
    from harness.schema.run_config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
FINISHED, FAILED, BAD_INPUT, HELD, INTERRUPTED = 0, 1, 2, 3, 130

EXAMPLES = """examples:
  python -m harness objective=grpo model=ladder_xs seed=1
  python -m harness -m objective=sft_rejection,grpo model=ladder_xs,ladder_s seed=0,1,2 study=first
  python -m harness ablation=quickstart --plan
  python -m harness objective=grpo trainer.lr=1e-4 --config
  python -m harness model=smollm2_135m_instruct data=math data.levels=[4,5] data.num_train=512
  python -m harness model=smollm2_135m_instruct data=mixture 'data.components={gsm8k: 0.3, math: 0.7}'
  python -m analysis report outputs/first

published problems are read from the folder MATH_DATA_DIR, or from the hub where it is not set;
python -m harness.data.contamination --help scans training sets for evaluation problems

exit codes: 0 finished or skipped, 1 a run failed, 2 bad input, 3 another process holds a run, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m harness",
        description="One run, or every run of an ablation: base model -> train -> evaluate -> record.",
        epilog=_groups() + "\n\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep: every combination of a,b,c")
    parser.add_argument(
        "--plan", action="store_true", help="say what would run and what it can find; start nothing"
    )
    parser.add_argument("--config", action="store_true", help="print the resolved config and the run's name")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with groups of your own beside conf/")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _groups() -> str:
    """`group=option` for everything in conf/, read from the folder names."""
    lines = ["settings (group=option, or any field: trainer.steps=10):"]
    for group in sorted(p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"):
        options = " | ".join(sorted(p.stem for p in group.glob("*.yaml")))
        lines.append(f"  {group.name:<11} {options}")
    lines.append("  hydra/launcher  process | joblib | submitit_local | submitit_slurm | ray")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, *, functions: Functions | None = None) -> int:
    """Exit code of one command; `functions` replaces what a job calls (tests)."""
    from harness.launch.signals import was_interrupt

    _own_packages_first()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options, overrides = _parse(arguments)
        if options.version:
            print(_version())
            return FINISHED
        return _run(options, overrides, functions)
    except (KeyboardInterrupt, RuntimeError) as error:
        if not was_interrupt(error):
            raise
        print("interrupted; launch again to go on", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
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


def _own_packages_first() -> None:
    """Take the current folder off the path, where `python -m` puts it: it may hold a package `analysis`."""
    here = os.path.realpath(os.getcwd())
    if here != str(ROOT):
        sys.path[:] = [p for p in sys.path if os.path.realpath(p or here) != here]


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the Hydra overrides that are left. Raises ValueError for an option that does not exist."""
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    known = ["--help", "--multirun", "--plan", "--config", "--config-dir", "--version"]
    for word in overrides:
        if word.startswith("-"):
            near = difflib.get_close_matches(word.split("=")[0], known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{word}: no such option; {hint}")
    return options, overrides


def _run(options: argparse.Namespace, overrides: list[str], functions: Functions | None) -> int:
    """Compose every run, warn, then print the configs or go on to `_launch`."""
    from harness.launch.expand import expand
    from harness.model.files.source import planning

    with planning() if options.plan else nullcontext():
        sweep = expand(overrides, multirun=options.multirun or options.plan, config_dir=options.config_dir)
        _check_torchrun(sweep)
        _warn([job.config for job in sweep.jobs])
        if not options.plan:
            _say_design(sweep)
        if options.config:
            return _print_configs(sweep)
        return _launch(sweep, options, overrides, functions)


def _launch(
    sweep: Sweep, options: argparse.Namespace, overrides: list[str], functions: Functions | None
) -> int:
    """Plan or run, in one of three ways: a sweep after its pilot, a sweep, or one run in this process."""
    from harness.launch.jobs import Functions
    from harness.launch.pilot import pilot_of, plan_with_pilot, run_with_pilot
    from harness.launch.signals import installed
    from harness.launch.sweep import plan, run_sweep

    folder = options.config_dir
    pilot = pilot_of(sweep, overrides, config_dir=folder)
    if options.plan:
        with_pilot = pilot and plan_with_pilot(sweep, pilot, overrides=overrides, config_dir=folder)
        print(with_pilot or plan(sweep))
        return FINISHED
    calls = functions or Functions()
    with installed():
        if pilot is not None:
            return run_with_pilot(sweep, pilot, overrides=overrides, config_dir=folder, functions=calls)
        if not sweep.launcher:  # another launcher's machines are not this one
            _check_memory(sweep)
        if len(sweep.jobs) > 1 or options.multirun or sweep.factors:
            return run_sweep(sweep, overrides=overrides, functions=calls)
        return _run_one(sweep, calls)


def _check_torchrun(sweep: Sweep) -> None:
    """Raises ValueError for a sweep under torchrun, or a run that so many processes cannot share."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return
    if len(sweep.jobs) > 1:
        raise ValueError(
            f"{len(sweep.jobs)} runs under torchrun: its processes share one run; give each run a torchrun, "
            "or launch the sweep without (it takes every GPU)"
        )
    from harness.training.distributed import check_supported

    check_supported(sweep.jobs[0].config, processes)


def _check_memory(sweep: Sweep) -> None:
    """Raises ValueError for a run that does not fit into this machine's memory; seeds do not matter."""
    from harness.model.preflight import check_fits

    for config in {job.config.model_dump_json(exclude={"seed"}): job.config for job in sweep.jobs}.values():
        check_fits(config)


def _say_design(sweep: Sweep) -> None:
    from harness.launch.levels import gap_lines

    for line in gap_lines(sweep.spec, sweep.factors, sweep.control):
        print(f"design: {line}", file=sys.stderr)


def _warn(configs: Sequence[RunConfig]) -> None:
    from harness.data.load import left_out
    from harness.schema.run_config import config_warnings
    from harness.schema.unread import unread

    found = [setting.message for setting in unread(configs) if setting.warn]
    found += [text for config in configs for text in (*config_warnings(config), *left_out(config.data))]
    for text in dict.fromkeys(found):
        print(f"warning: {text}", file=sys.stderr)


def _print_configs(sweep: Sweep) -> int:
    import yaml

    for job in sweep.jobs:
        print(f"# {job.run_id}")
        print(yaml.safe_dump(job.config.model_dump(mode="json"), sort_keys=False))
    return FINISHED


def _run_one(sweep: Sweep, functions: Functions) -> int:
    """Run the only job in this process. Returns the exit code."""
    from harness.launch.jobs import load
    from harness.launch.status import decide, decision_text
    from harness.records.progress import Display, Throttle
    from harness.records.reading import visible

    job = sweep.jobs[0]
    action, note = decide(job.config)
    if text := decision_text(action, note):
        print(f"{job.run_id}  {visible(text)}", file=sys.stderr)
    if action == "skip":
        return FINISHED
    execute: Callable[..., str] = load(functions.execute)
    last_note = ""
    with Display({job.run_id: 1.0}) as display:
        display.start(job.run_id)
        forward = Throttle(display.reporter(job.run_id))

        def report(phase: str, done: int, total: int, note: str = "") -> None:
            nonlocal last_note
            last_note = note
            forward(phase, done, total, note)

        outcome = execute(job.config, overrides=list(job.overrides), report=report)
        display.end(job.run_id, outcome, last_note if outcome != "finished" else "")
    return {"finished": FINISHED, "skipped": FINISHED, "held": HELD}.get(outcome, FAILED)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("r1-ablations")
    except PackageNotFoundError:
        return "r1-ablations (not installed)"
