"""A study whose seeds are added until it is decided: rounds of runs, a look after each. Imports no torch.

The look is the analysis's own, in a process of its own (`python -m analysis look STUDY --json`), so that the
rule stops on the very numbers that the report shows. Looks are recorded in looks.json before a line is
printed; a launch that was killed goes on from there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.identity import base_id, bases_of
from harness.launch.costs import estimate, finished_records
from harness.launch.expand import Sweep, expand
from harness.launch.jobs import Functions
from harness.launch.launcher import own_code_first
from harness.launch.launchers import workers_of
from harness.launch.sweep import run_sweep, study_folder
from harness.records.code_state import code_state
from harness.records.looks import FILE, Look, Looks, SeedRule, Seen, read_looks
from harness.records.progress import duration
from harness.records.reading import visible
from harness.records.records import RunRecord, write_record
from harness.schema.run_config import ConfigError

FAILED = 1  # exit code


def rule_of(sweep: Sweep) -> SeedRule | None:
    """The sweep's rule. Raises ConfigError where its primary contrast is not among the arms launched."""
    spec = sweep.spec
    rule = spec.seed_rule if spec else None
    if spec is None or rule is None or spec.primary is None:
        return None
    factor = spec.primary.factor
    levels, control = sweep.factors.get(factor, []), sweep.control.get(factor)
    if spec.primary.criterion == "gain":
        lacking = [level for level in spec.family if level not in levels]
    else:
        declared = spec.control.get(factor, control)
        needed = [
            spec.primary.contrast or next((v for v in levels if v != declared), "another level"),
            declared,
        ]
        lacking = [str(level) for level in needed if level not in levels]
    if lacking:
        raise ConfigError(
            f"until: it looks at the primary contrast of {factor}, and {', '.join(lacking)} is not launched; "
            "launch it too, or give seed=... in the place of until"
        )
    return rule


def counts_of(rule: SeedRule) -> list[int]:
    """Numbers of seeds at which there is a look, the cap last."""
    return [*range(rule.first, rule.max_seeds, rule.step), rule.max_seeds]


def run_until(
    sweep: Sweep,
    rule: SeedRule,
    *,
    overrides: Sequence[str],
    config_dir: str | None,
    functions: Functions,
    pilot: Sequence[dict[str, Any]] = (),
) -> int:
    """Run the first seeds, look, add seeds, until the rule says stop. Returns the exit code.

    Without a look where a run did not finish: the launch is repeated then. Raises ConfigError where the study
    has looks by another rule.
    """
    folder = study_folder(sweep)
    done = _earlier(folder, rule)
    for number, num_seeds in enumerate(counts_of(rule), start=1):
        look = next((look for look in done.looks if look.num_seeds == num_seeds), None)
        if look is not None and not _stops(look, rule):
            continue
        sweep = at_seeds(sweep, overrides, config_dir, num_seeds)
        code = run_sweep(sweep, overrides=overrides, functions=functions, pilot=pilot)
        if code:
            print(
                f"no look at {num_seeds} seeds: a run did not finish; launch again to go on", file=sys.stderr
            )
            return code
        if look is None:
            look = _look(sweep, rule, num_seeds)
            if look is None:
                return FAILED
            done.looks.append(look)
            write_record(folder / FILE, done)
        print(look_text(number, look, rule), file=sys.stderr)
        if _stops(look, rule):
            break
    return 0


def at_seeds(sweep: Sweep, overrides: Sequence[str], config_dir: str | None, num_seeds: int) -> Sweep:
    """Compose the sweep with so many of its rule's seeds, at the rates and steps of its arms."""
    return expand(
        overrides,
        multirun=True,
        config_dir=config_dir,
        rates=sweep.rates,
        max_runs=sweep.composer.max_runs,
        match=sweep.match,
        num_seeds=num_seeds,
    )


def _earlier(folder: Path, rule: SeedRule) -> Looks:
    found = read_looks(folder)
    if found is None:
        return Looks(rule=rule)
    if found.looks and found.rule != rule:
        raise ConfigError(
            f"until: {folder / FILE} has {len(found.looks)} looks by another rule ({rule_text(found.rule)}), "
            "and error rates are those of one; give that rule, or a study of its own: study=..."
        )
    return found if found.looks else Looks(rule=rule)


def _stops(look: Look, rule: SeedRule) -> bool:
    return look.done or look.num_seeds >= rule.max_seeds


def _look(sweep: Sweep, rule: SeedRule, num_seeds: int) -> Look | None:
    """What the analysis sees now, with the projected cost; None where it cannot, which is said."""
    with own_code_first(1):
        ended = subprocess.run(
            [sys.executable, "-m", "analysis", "look", str(study_folder(sweep)), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        if ended.returncode:
            raise ValueError((ended.stderr.strip().splitlines() or ["no reason given"])[-1])
        look = Look.model_validate(json.loads(ended.stdout))
    except (ValueError, ValidationError) as error:
        why = " ".join(str(error).removeprefix("error: ").split())
        print(f"error: no look at {num_seeds} seeds: {visible(why)}; launch again to look", file=sys.stderr)
        return None
    look = look.model_copy(update={"num_seeds": num_seeds})
    more = max(0, min(look.needed or rule.max_seeds, rule.max_seeds) - num_seeds)
    return look.model_copy(
        update={
            "seconds": None if _stops(look, rule) else seconds_for(sweep, more),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": code_state()["commit"],
        }
    )


def seconds_for(sweep: Sweep, num_seeds: int, records: Sequence[RunRecord] | None = None) -> float:
    """Expected seconds of so many further seeds on the launch's workers, by finished runs where there are."""
    known = finished_records(sweep.jobs[0].config.output_dir) if records is None else records
    mine = [job.config for job in sweep.jobs if job.config.seed == sweep.seeds[-1]]
    bases = {} if sweep.shared_base else {base_id(c): c for config in mine for c in bases_of(config)}
    runs = [estimate(config, known).seconds for config in mine]
    one = sum(runs) + sum(estimate(c, known).base_seconds for c in bases.values())
    return one * num_seeds / min(workers_of(sweep), max(1, num_seeds * len(runs)))


def rule_text(rule: SeedRule) -> str:
    """`half width 0.5 points, looks at 4, 6, …, 20 seeds`."""
    goal = "verdict" if rule.half_width is None else f"half width {rule.half_width:g} points"
    counts = counts_of(rule)
    shown = [*counts[:2], "…", counts[-1]] if len(counts) > 3 else counts
    return f"{goal}, looks at {', '.join(map(str, shown))} seeds"


def look_text(number: int, look: Look, rule: SeedRule) -> str:
    """One line: what was seen, why it stops, or how many seeds are still needed and what they cost."""
    seen = "; ".join(_seen_text(one) for one in look.contrasts) or "no interval yet"
    text = f"look {number}, {look.num_seeds} seeds: {seen}"
    if look.done:
        return f"{text}. Stopped: {look.reason}"
    if look.num_seeds >= rule.max_seeds:
        return f"{text}. Stopped at the cap of {rule.max_seeds} seeds: {look.reason}"
    counts = counts_of(rule)
    if not look.contrasts or any(seen.low is None for seen in look.contrasts):
        needed = "seeds needed not known without an interval"
    elif look.needed is not None and look.needed <= rule.max_seeds:
        needed = f"about {look.needed} seeds needed"
    else:
        known = "" if look.needed is None else f", about {look.needed} needed"
        needed = f"not by the cap of {rule.max_seeds} if it goes on so{known}"
    cost = "" if look.seconds is None else f", {duration(look.seconds)} more"
    later = counts[counts.index(look.num_seeds) + 1]
    return f"{text}. Not yet: {look.reason}; {needed}{cost}. On to {later} seeds"


def _seen_text(seen: Seen) -> str:
    """`grpo − sft +1.3 [−0.2, +2.8] points, undecided`."""
    if seen.low is None or seen.high is None:
        return f"{seen.name} {_points(seen.estimate)} points, without an interval"
    interval = f"[{_points(seen.low)}, {_points(seen.high)}]"
    half = (seen.high - seen.low) / 2
    return (
        f"{seen.name} {_points(seen.estimate)} {interval} points, half width {100 * half:.2f}, {seen.verdict}"
    )


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def plan_lines(sweep: Sweep, rule: SeedRule) -> str:
    """What the rule is and what all seeds up to the cap would cost beside those of the first look."""
    records = finished_records(sweep.jobs[0].config.output_dir)
    more = rule.max_seeds - rule.first
    seconds = seconds_for(sweep, more, records)
    runs = len([job for job in sweep.jobs if job.config.seed == sweep.seeds[-1]])
    return (
        f"Seeds are added until: {rule_text(rule)}. The above is what the first {rule.first} seeds take; "
        f"up to {more} more, {more * runs} runs, are at most {duration(seconds)} beyond that."
    )
