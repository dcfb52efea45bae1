"""README.md of outputs/reference: heading, sentence and figure per committed study, and other measures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.all_arms import directions, gains
from analysis.report.claims import claims_section
from analysis.report.committed import FILE, Committed, command_at
from analysis.report.lower_rates import lower_rate_gains, lower_rates_section
from analysis.report.rules import committed_lines
from analysis.report.sentences import sentence
from analysis.report.together import together_section
from analysis.tables.table import csv_text
from harness.records.reading import read_json
from harness.records.records import write_text

if TYPE_CHECKING:
    import pandas as pd

INTRODUCTION = (
    "# What the committed studies show\n\n"
    "`r1-report findings` writes this page from the files beside it. avg@k is the mean accuracy of k sampled "
    "answers; greedy takes the likeliest token at each step. Differences and gains are in points of "
    "accuracy. Brackets are 95 % intervals over seeds, not adjusted for the number of comparisons; each "
    "report says what its seeds draw anew. No interval covers other families. `smollm2_gsm8k` is "
    "older: its test and its learning rates, chosen by a pilot, are shared by all seeds.\n\n"
    "A verdict is better, worse, equivalent, undecided, or that the study cannot tell, with the reason; "
    "analysis/README.md has the rules. The margin of equivalence is a quarter of the "
    "control's gain.\n\n"
    "A command makes its study at the commit beside it: an ablation of conf/ may have changed since. "
    "Runs an hour are from the first start to the last end, beside whatever else the machine did."
)
COLD = 0.1  # close to greedy
ARM_MEASURES = {
    "avg": "sampled at temperature 1",
    "maj": "majority vote",
    "greedy": "greedy",
    "pass": "any of k samples",
}
FIGURES = ("ordered", "checkpoints", "differences")
# Folder or file -> (what it holds, the command that makes it where the file does not say so).
MEASURES = {
    "reward_models": ("best of k by outcome and process reward models, against a majority vote", ""),
    "lm_eval_agreement/disagreements.csv": (
        "answers that this grader and lm-eval's filters grade differently, and who is right",
        "python -m pytest tests/unit/harness/grading/test_lm_eval_agreement.py",
    ),
    "step_check/labels.jsonl": (
        "hand labels of relation signs in derivations, against which the step check is tested",
        "python -m pytest tests/unit/harness/grading/steps/test_labels.py",
    ),
    "calibration/pipeline.json": (
        "do the intervals, tests and verdicts of reports hold? simulated studies, in a "
        "[table](calibration/pipeline.md)",
        "python -m analysis calibrate --pipeline",
    ),
    "bench/campaign.json": (
        "kills, full disks, power cuts and damage against tiny runs: what was survived",
        "",
    ),
    "bench/memory.json": ("peak GPU memory against the estimate made before a run", ""),
    "bench/paged_cache.json": ("a GPU sampler's cache in pages against whole rows", ""),
    "bench/reference_ahead.json": ("a step with the reference's logprobs computed during sampling", ""),
    "bench/resources.json": ("memory, files and threads over 200 runs in one process", "resources"),
    "bench/rl_step.json": ("seconds and use of the GPU of a whole training step", "rl_step"),
    "bench/rl_step_smollm2.json": ("the same for SmolLM2-135M", "rl_step --model FOLDER"),
    "bench/rl_step_long.json": ("a training step with outputs of 4,096 tokens and more", "rl_step_long"),
    "bench/step_profile.json": ("where the time of a training step goes", "rl_step"),
    "bench/rollout.json": ("tokens sampled per second, native engine and vLLM", ""),
    "bench/runs_per_hour.json": ("runs an hour of a study that used every GPU of a host", ""),
    "bench/runs_per_hour_one_gpu.json": ("runs an hour on one GPU, default settings", ""),
    "bench/sampler_gap_cpu.json": ("KL between sampler and trainer logprobs, CPU", ""),
    "bench/sampler_gap_gpu.json": ("KL between sampler and trainer logprobs, GPU", ""),
    "bench/sandbox.json": (
        "seconds of a program in the sandbox, and what became of hostile ones",
        "sandbox --programs 200 --hostile",
    ),
    "bench/simulated_sweep.json": ("a sweep's makespan, simulated before and measured", "simulated_sweep"),
    "bench/sweep_overhead.json": ("start-up time of runs in one process and in fresh ones", "sweep_overhead"),
    "bench/train_step.json": ("tokens trained per second", ""),
    "bench/two_gpus.json": ("one run on two GPUs against one", "two_gpus"),
    "bench/warm_equals_fresh.json": ("a run in a used process against a fresh one", "warm_equals_fresh"),
}


def overview(folder: Path, rows: pd.DataFrame | None = None, lower: pd.DataFrame | None = None) -> str:
    """The page; `rows` are `gains(folder)`, `lower` are `lower_rate_gains(folder)`, if known.

    Raises ValueError for no finding, or a damaged one.
    """
    paths = sorted(folder.glob(f"*/{FILE}"))
    if not paths:
        raise ValueError(
            f"{folder}: no {FILE} in any folder; write one with r1-report report STUDY --reference FOLDER"
        )
    studies = [Committed.read(path.parent) for path in paths]
    asked = [study.question for study in studies]
    arms = claims_section(studies)
    arms += _all_arms(gains(folder) if rows is None else rows)
    arms += lower_rates_section(lower_rate_gains(folder) if lower is None else lower)
    arms += together_section(studies)
    parts = [*arms, *(_section(study, asked.count(study.question) > 1) for study in studies)]
    return "\n\n".join([INTRODUCTION, *parts, *_measures(folder)]) + "\n"


def write_overview(folder: Path) -> Path:
    """Write `folder`/README.md and, where there are evaluations, all_arms.csv and .png, lower_rates.csv."""
    path = folder / "README.md"
    rows, lower = gains(folder), lower_rate_gains(folder)
    write_text(path, overview(folder, rows, lower))
    if len(lower):
        write_text(folder / "lower_rates.csv", csv_text(lower, float_format="%.6g"))
    if len(rows):
        from analysis.figures.all_arms import all_arms

        write_text(folder / "all_arms.csv", csv_text(rows, float_format="%.6g"))
        (folder / "all_arms.png").write_bytes(all_arms(rows, directions(rows)).png)
    return path


def _all_arms(rows: pd.DataFrame) -> list[str]:
    """The section on every arm at once; none where no study has evaluations."""
    if rows.empty:
        return []
    coldest = rows.reindex(columns=["coldest"])["coldest"]
    cold, warm = coldest <= COLD, coldest > COLD  # neither where one temperature alone was sampled
    lines = [(name, rows["measure"] == measure) for measure, name in ARM_MEASURES.items()]
    best = rows["measure"] == "best"
    lines[1:1] = [
        (f"at own best temperature, sampled down to {COLD:g}", best & cold),
        (f"at own best temperature, where the coldest is above {COLD:g}", best & warm),
    ]
    return [
        "## All arms at once",
        "How many arms gain over their untrained base, by how answers are taken. Where the base is best at "
        "the coldest temperature that was sampled, a gain may be sharpening that a colder one would show.",
        "\n".join(
            ["| measure | arms | rise | fall |", "| --- | --- | --- | --- |"]
            + [_counted(name, rows[own]) for name, own in lines if own.any()]
        ),
        "![Gain of every arm over its untrained base](all_arms.png)",
        "An arm counts whose interval lies above 0, or below. Arms share bases and test problems, so this is "
        "a count and not a test, and an interval that holds 0 does not exclude a gain. Left out: smoke tests "
        "(three seeds), published problems, controls and ceilings, and arms that saw the test problems · "
        "[numbers](all_arms.csv) · `r1-report findings outputs/reference`",
    ]


def _counted(name: str, rows: pd.DataFrame) -> str:
    sides = directions(rows)
    return f"| {name} | {len(rows)} | {(sides == 'up').sum()} | {(sides == 'down').sum()} |"


def _section(study: Committed, repeated: bool) -> str:
    title = study.question + (f" ({study.name})" if repeated else "")
    text = sentence(study)
    lines = [f"## {title}", text[0].upper() + text[1:], *committed_lines(study), *_figure(study)]
    links = []
    if (study.folder / "report.md").exists():
        links.append(f"[report]({study.name}/report.md)")
    links.append(f"[tables]({study.name}/)")
    if study.cost:
        links.append(study.cost)
    if study.command:
        links.append(study.command)
    return "\n\n".join([*lines, " · ".join([f"{study.seeds} seeds", *links])])


def _figure(study: Committed) -> list[str]:
    """The figure over an ordered factor or steps if the study has a trend, else the differences."""
    trend = not study.table("trends").empty
    for name in FIGURES if trend else FIGURES[-1:]:
        path = study.folder / "figures" / f"{name}.png"
        if path.exists():
            return [f"![{_title(study.folder, name)}]({study.name}/figures/{name}.png)"]
    return []


def _title(folder: Path, figure: str) -> str:
    """Alt text of a figure: its title in report.md."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    match = re.search(rf"!\[(.+?)\]\(figures/{figure}\.png\)", text)
    return match[1] if match else figure


def _measures(folder: Path) -> list[str]:
    """A line for each other file, with the command that it records or that makes it."""
    lines = []
    for name, (what, made_by) in MEASURES.items():
        path = folder / name
        if path.exists():
            shown = "; ".join(_commands(path)) or (f"`{_benchmark(made_by)}`" if made_by else "")
            lines.append(f"- [{name}]({name}): {what}" + (f"; {shown}" if shown else ""))
    return ["## Other measures\n\n" + "\n".join(lines)] if lines else []


def _commands(path: Path) -> list[str]:
    """Commands that a file, or the provenance of a folder, records; a study's with its commit."""
    source = path / "provenance.json" if path.is_dir() else path
    if source.suffix != ".json":
        return []
    data = read_json(source, dict[str, Any], remedy="make it again, or restore it from git")
    rows = data.get("rows") if isinstance(data.get("rows"), list) else []
    entries = [data, *(row for row in rows or [] if isinstance(row, dict))]
    shown = [
        command_at(entry) if path.is_dir() else f"`{entry['command']}`"
        for entry in entries
        if "command" in entry
    ]
    return list(dict.fromkeys(shown))


def _benchmark(command: str) -> str:
    return command if command.startswith("python") else f"python -m tests.benchmarks.{command}"
