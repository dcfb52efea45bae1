"""The tables of harness/launch/large.md: large runs as `--plan` sees them, and a study of them simulated.

    python -m tests.benchmarks.large_plans            # print them
    python -m tests.benchmarks.large_plans --write    # put them into the page

Nothing here is measured: memory and seconds are computed from shapes and stated rates, makespans simulated
from those. A test holds the page to what this prints.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from harness.launch.compose import Composer
from harness.launch.large import H100, Cost, run_cost
from harness.launch.simulate import Assumed, Task, mean_of, quantile, simulate
from harness.model.dims import num_parameters
from harness.model.files.source import planning, shape
from harness.model.verl_memory import GIB, STATED_GPU, RankNeeds, rank_needs
from harness.records.progress import duration
from harness.schema.run_config import RunConfig

PAGE = Path(__file__).resolve().parents[2] / "harness" / "launch" / "large.md"
BEGIN, END = "<!-- written by tests.benchmarks.large_plans -->", "<!-- end -->"
COMMON = (
    *("trainer.engine=verl", "dtype=bfloat16", "data=gsm8k", "objective=dr_grpo", "trainer.steps=200"),
    *("objective.updates.minibatches=1", "rollout.prompts_per_step=64", "rollout.group_size=8"),
    *("trainer.gradient_checkpointing=true", "trainer.checkpoint_every=20", "trainer.verl.ray=auto"),
)
SMALL = ("model=qwen2_5_7b", "rollout.max_new_tokens=8192", "trainer.microbatch_tokens=16384")
LARGE = (
    *("model=qwen2_5_32b", "rollout.max_new_tokens=16384", "trainer.microbatch_tokens=8192"),
    *("trainer.verl.tensor_parallel=4", "trainer.verl.sequence_parallel=4", "trainer.verl.offload=true"),
)
CASES = {
    "7B, 8k, 8 GPUs": (*SMALL, "trainer.verl.nodes=1"),
    "7B, 8k, 64 GPUs": (*SMALL, "trainer.verl.nodes=8"),
    "32B, 16k, 8 GPUs": (*LARGE, "trainer.verl.nodes=1"),
    "32B, 16k, 64 GPUs": (*LARGE, "trainer.verl.nodes=8"),
}
RUNS = 10  # of the study that is simulated: two arms at five seeds
# A failure of each node in 50 hours, one start in 20 on a slow node, a quarter of an hour in the queue.
FAULTS = {
    "no faults": {},
    "faults": {"failures": 0.02, "slow_share": 0.05, "slow_factor": 1.5, "queue": 900.0},
}
LAYOUTS = {"one at a time on 64": ("7B, 8k, 64 GPUs", 1), "eight at once on 8 each": ("7B, 8k, 8 GPUs", 8)}


def cost_of(config: RunConfig) -> tuple[RankNeeds, Cost]:
    """(memory of a rank, seconds) on the stated GPUs."""
    dims = shape(config.model, vocab_size=1)
    assert dims is not None
    return rank_needs(config, dims, STATED_GPU), run_cost(config, dims, gpu_bytes=STATED_GPU)


def configs() -> dict[str, RunConfig]:
    composer = Composer()
    with planning():
        return {name: composer.config([*COMMON, *lines]) for name, lines in CASES.items()}


def memory_table(cases: dict[str, RunConfig]) -> list[str]:
    """GiB of a rank by part."""
    needs = {name: cost_of(config)[0] for name, config in cases.items()}
    names = [("training", name) for name in next(iter(needs.values())).training]
    names += [("sampling", name) for name in next(iter(needs.values())).sampling]
    rows = []
    for phase, part in names:
        cells = [getattr(need, phase).get(part) for need in needs.values()]
        shown = ["–" if x is None else f"{x / GIB:.1f}" for x in cells]
        rows.append([f"{phase}: {part}", *shown])
    peak = [_peak(need) for need in needs.values()]
    longest = [256 + config.rollout.max_new_tokens for config in cases.values()]
    whole = [f"{n.cache_tokens / length:.0f}" for n, length in zip(needs.values(), longest, strict=True)]
    host = [f"{sum(n.host.values()) * 8 / GIB:.0f}" for n in needs.values()]
    rows += [["peak of 80", *peak], ["whole outputs in a sampler's cache", *whole]]
    rows.append(["a node's memory", *host])
    return _table(["GiB, computed", *needs], rows)


def _peak(need: RankNeeds) -> str:
    return f"{need.total / GIB:.1f}" + (" (does not fit)" if need.total > STATED_GPU else "")


def time_table(cases: dict[str, RunConfig]) -> list[str]:
    """Seconds of a step by phase, and what a run comes to."""
    costs = {name: cost_of(config)[1] for name, config in cases.items()}
    rows = [
        [f"{phase}, s a step", *(f"{cost.phases[phase]:.0f}" for cost in costs.values())]
        for phase in next(iter(costs.values())).phases
    ]
    rows.append(["a step, s", *(f"{cost.step:.0f}" for cost in costs.values())])
    rows.append(["tokens sampled a step, million", *(f"{_tokens(c) / 1e6:.1f}" for c in cases.values())])
    rows.append(["a run of 200 steps", *(duration(cost.training) for cost in costs.values())])
    gpus = {name: config.trainer.verl.num_gpus for name, config in cases.items()}
    rows.append(["its GPU hours", *(f"{c.training / 3600 * gpus[name]:,.0f}" for name, c in costs.items())])
    return _table(["computed at stated rates", *costs], rows)


def study_table(cases: dict[str, RunConfig]) -> list[str]:
    """A study of ten runs of 7B on 64 GPUs: one run at a time on all of them, or eight at once on 8 each."""
    rows = []
    for label, (case, workers) in LAYOUTS.items():
        config = cases[case]
        seconds = cost_of(config)[1].training
        interval = seconds * config.trainer.checkpoint_every / config.trainer.steps
        tasks = [Task(f"run {i}", seconds, interval) for i in range(RUNS)]
        for faults, given in FAULTS.items():
            rate = given.get("failures", 0.0) * config.trainer.verl.nodes  # each node may fail
            assumed = replace(
                Assumed(workers=workers, restart=H100.start, retries=5), **{**given, "failures": rate}
            )
            found = simulate(tasks, assumed, seed=0, repeats=400)
            ends = [outcome.makespan for outcome in found]
            middle, low, high = (duration(quantile(ends, share)) for share in (0.5, 0.05, 0.95))
            lost = 100 * mean_of(found, "lost") / mean_of(found, "busy")
            rows.append([label, faults, middle, f"{low} to {high}", f"{lost:.1f} %"])
    return _table(["10 runs of 7B at 8k, simulated", "", "done in", "9 of 10", "work lost"], rows)


def _tokens(config: RunConfig) -> float:
    rollout = config.rollout
    return 0.5 * rollout.prompts_per_step * rollout.group_size * rollout.max_new_tokens


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def text() -> str:
    """All tables, as the page has them."""
    cases = configs()
    shapes = [shape(config.model, vocab_size=1) for config in cases.values()]
    sizes = sorted({round(num_parameters(dims) / 1e9, 2) for dims in shapes if dims})
    head = (
        f"{' and '.join(map(str, sizes))} billion parameters, 64 prompts × 8 outputs a step, outputs half as "
        "long as allowed, no KL; GPUs of 80 GiB."
    )
    parts = [[head], memory_table(cases), time_table(cases), study_table(cases)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def written(page: str, tables: str) -> str:
    """The page with the tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    tables = text()
    if options.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print(tables)


if __name__ == "__main__":
    main()
