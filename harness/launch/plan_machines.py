"""The part of `--plan` about machines: memory of a run or a rank, a large run's time. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from harness.launch.costs import evaluated_tokens, sampled_tokens
from harness.launch.large import H100, Cost, run_cost
from harness.launch.workload import TYPICAL_LENGTH
from harness.model import preflight, verl_memory
from harness.model.files.source import shape
from harness.records.progress import duration
from harness.schema.run_config import RunConfig


def machine_lines(configs: Sequence[RunConfig], *, here: bool) -> list[str]:
    """Memory of these runs, and how runs on verl spend their time. `here`: they start on this machine."""
    own = [config for config in configs if config.trainer.engine == "native"]
    large = [config for config in configs if config.trainer.engine == "verl"]
    memory = [f"  {preflight.describe(config, here=here)}" for config in own]
    memory += [f"  {line}" for config in large for line in verl_memory.describe(config, here=here)]
    lines = ["", "Memory of a run, GiB:", *dict.fromkeys(memory)]
    return lines + ["", *dict.fromkeys(large_lines(large, here=here))] * bool(large)


def large_lines(configs: Sequence[RunConfig], *, here: bool) -> list[str]:
    """Time of a step and of a run on verl, at stated rates, and what waits for what."""
    lines = [
        f"On verl, computed at stated rates of an {H100.name} ({H100.flops / 1e12:.0f} TFLOP/s, of which "
        f"{H100.train:.0%} in training and {H100.score:.0%} in scoring; {H100.bandwidth / 1e12:.2f} TB/s, of "
        f"which {H100.decode:.0%} in decoding), outputs {TYPICAL_LENGTH:.0%} as long as allowed:"
    ]
    for config in configs:
        dims = shape(config.model, vocab_size=1)
        if dims is None:
            lines.append(f"  {config.model.name}: unknown until its config.json is downloaded")
            continue
        have, _ = verl_memory.gpu_bytes(here=here)
        cost = run_cost(config, dims, gpu_bytes=have, evaluated=evaluated_tokens(config))
        lines += _of_run(config, cost, fits=2.0 * _parameters(config) < have)
    return [
        *lines,
        "  Order: bases, then the runs one after another, each on all GPUs; a run's evaluations after its "
        "last step, on the first GPU",
    ]


def _of_run(config: RunConfig, cost: Cost, *, fits: bool) -> list[str]:
    machines, steps = config.trainer.verl, config.trainer.steps
    phases = ", ".join(f"{name} {seconds:.0f}" for name, seconds in cost.phases.items())
    hours = cost.training * machines.num_gpus / 3600
    mean = TYPICAL_LENGTH * sampled_tokens(config)
    evaluation = (
        f"then {duration(cost.evaluation)} of evaluation on one GPU, while {machines.num_gpus - 1} wait"
        if fits
        else "evaluation: the model is larger than one GPU; set eval.splits=[], and score its checkpoints "
        "elsewhere"
    )
    name = f"{config.objective.name}, {config.model.name}, {machines.nodes} × {machines.gpus} GPUs"
    return [
        f"  {name}: a step {cost.step:.0f} s ({phases}), {mean / steps:,.0f} tokens sampled",
        f"    a run of {steps} steps {duration(cost.training)}, {hours:,.0f} GPU hours; {evaluation}",
    ]


def _parameters(config: RunConfig) -> float:
    from harness.model.dims import num_parameters

    dims = shape(config.model, vocab_size=1)
    return 0.0 if dims is None else float(num_parameters(dims))
