"""Runs on the terminal: their names in words, and what a finished one came to. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from analysis.stats.text import interval_text, points
from harness.identity import run_folder
from harness.launch.jobs import Job
from harness.launch.measured import Compared, Measured, measured
from harness.launch.plan import arm_label
from harness.records.reading import RecordError
from harness.records.records import read_run
from harness.schema.run_config import RunConfig


def run_names(jobs: Sequence[Job], *, with_rates: bool = False) -> dict[str, str]:
    """`grpo, ladder_xs, seed 0` by run id; names that several runs would share keep the id's hash."""
    names = {job.run_id: run_name(job, with_rate=with_rates) for job in jobs}
    shared = Counter(names.values())
    return {k: v if shared[v] == 1 else f"{v} ({k.rpartition('-')[2]})" for k, v in names.items()}


def run_name(job: Job, *, with_rate: bool = False) -> str:
    """The levels of a run's arm (of a single run its objective and model), its rate where asked, its seed."""
    config = job.config
    arm = arm_label(job.levels) if job.levels else f"{config.objective.name}, {config.model.name}"
    arm += f", {config.stage.name}" if config.stage is not None else ""
    rate = f", lr={config.trainer.lr:g}" if with_rate else ""
    replicate = (
        f", replicate {config.replicate}" if config.replicate and "replicate" not in job.levels else ""
    )
    return f"{arm}{rate}, seed {config.seed}{replicate}"


def headline(config: RunConfig) -> str:
    """`test 12.5 %, base 10.1 %` of a finished run; empty where there is no evaluation to read."""
    if (found := _main(config)) is None:
        return ""
    return f"{found.label} {_against_base(found.measures[0])}"


def ending(config: RunConfig) -> list[str]:
    """What a single run says when it has finished: its accuracies, its folder, the next command."""
    folder = run_folder(config)
    lines = []
    if (found := _main(config)) is not None:
        for each in found.measures[:2]:  # sampled and greedy
            lines.append(f"{found.label} {each.name}: {_against_base(each)}{_change(each)}")
        lines += ["brackets: 95 % over problems; this run alone, one seed says nothing of the method"]
    lines += [*flag_lines([config]), f"results: {folder}"]
    return [*lines, *sync_lines([config]), f"next: {report_command(folder.parent)}"]


def flag_lines(configs: Sequence[RunConfig]) -> list[str]:
    """`flagged: no_reward_variance (3 runs); ...`: numbers that may mean nothing; empty without any."""
    found: Counter[str] = Counter()
    for config in configs:
        with suppress(RecordError):
            found.update(read_run(run_folder(config)).flags)
    runs = [f"{flag} ({n} run{'s' * (n > 1)})" for flag, n in sorted(found.items())]
    return [f"flagged: {', '.join(runs)}; what to try: harness/README.md#flags"] if runs else []


def sync_lines(configs: Sequence[RunConfig]) -> list[str]:
    """`W&B, recorded offline: wandb sync PATHS`, of runs not sent yet; empty without any.

    The runs of a study stand in one pattern, which the shell resolves.
    """
    patterns = [pattern for config in configs if (pattern := _waiting(config))]
    if len(patterns) > 1 and all(config.tracking.dir is None for config in configs):
        patterns = [f"{run_folder(configs[0]).parent}/*/wandb/offline-run-*"]
    return [f"W&B, recorded offline: wandb sync {' '.join(patterns)}"] if patterns else []


def _waiting(config: RunConfig) -> str | None:
    """Pattern of a run's offline records, None where there are none or `wandb sync` has marked them all."""
    folder, own = run_folder(config), config.tracking.dir
    pattern = f"{folder}/wandb/offline-run-*"
    if own is not None:
        with suppress(RecordError):
            pattern = f"{own}/wandb/offline-run-*-{read_run(folder).wandb_id}"
    found = Path(pattern).parent.glob(Path(pattern).name)
    return pattern if any(not any(p.glob("*.synced")) for p in found) else None


def report_command(study: Path) -> str:
    """The command that reports a study."""
    return f"python -m analysis report {study}"


def _main(config: RunConfig) -> Measured | None:
    """The last checkpoint's evaluation on the test split, else on the last of its tasks."""
    folder = run_folder(config)
    try:
        record = read_run(folder)
        found = measured(folder, record, record.steps_done)
    except RecordError:
        return None  # the report names it
    return next((each for each in found if each.label == "test"), found[-1] if found else None)


def _against_base(measure: Compared) -> str:
    after = f"{points(_mean(measure.after))} %"
    return after if measure.before is None else f"{after}, base {points(_mean(measure.before))} %"


def _change(measure: Compared) -> str:
    return "" if measure.difference is None else f", {interval_text(measure.difference, signed=True)} points"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
