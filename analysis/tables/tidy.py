"""Per-seed numbers of a study for other programs: one row an observation, units in the header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.study.load import Study

if TYPE_CHECKING:
    import pandas as pd

# Column -> what it is called in a file. Shares lie in [0, 1].
EVALUATIONS = {
    "arm": "arm",
    "seed": "seed",
    "run_id": "run_id",
    "step": "step [rollout batches; 0 is the base]",
    "task": "task",
    "split": "split",
    "k": "k [samples a problem]",
    "temperature": "temperature",
    "top_p": "top_p",
    "n_problems": "n_problems [problems]",
    "avg": "avg [share right]",
    "greedy": "greedy [share right]",
    "maj": "maj [share right]",
    "pass": "pass [share solved]",
    "se_sampling": "se_sampling [share right]",
    "se_problems": "se_problems [share right]",
    "length": "length [tokens]",
    "truncated": "truncated [share cut]",
    "best_constant": "best_constant [share right]",
}
UNITS = {
    "reward": "mean a sample",
    "reward_custom": "mean a sample",
    "accuracy": "share right",
    "extracted": "share",
    "tests_passed": "share of tests",
    "truncated": "share cut",
    "zero_variance_groups": "share of groups",
    "completion_length": "tokens",
    "sampled_tokens": "tokens",
    "entropy": "nats/token",
    "kl": "nats/token",
    "kl_old": "nats/token",
    "kept_loss": "nats/token",
    "kept_kl_forward": "nats/token",
    "kept_kl_reverse": "nats/token",
    "sampler_gap": "nats/token",
    **{f"sampler_gap_{band}": "nats/token" for band in ("to_128", "to_512", "to_2k", "to_8k", "over_8k")},
    "sampler_trainer_kl": "nats/token",
    "clip_frac": "share of tokens",
    "clip_low_frac": "share of tokens",
    "clip_high_frac": "share of tokens",
    "flops": "FLOPs",
    "gpu_seconds": "s",
    "sampled_per_second": "tokens/s",
    "trained_per_second": "tokens/s",
}


def evaluations_frame(study: Study) -> pd.DataFrame:
    """A row for each arm, seed, checkpoint, task and sampling: accuracies as shares."""
    import pandas as pd

    frames = [frame for frame in (study.evaluations, study.samplings) if not frame.empty]
    if not frames:
        return pd.DataFrame(columns=list(EVALUATIONS.values()))
    found = pd.concat(frames)
    found = found[found["arm"].notna()].reindex(columns=list(EVALUATIONS))
    order = ["arm", "seed", "step", "task", "temperature", "top_p"]
    return found.sort_values(order, kind="stable").rename(columns=EVALUATIONS)


def curves_frame(study: Study) -> pd.DataFrame:
    """A row for each arm, seed and training step: every logged metric of that run."""
    import pandas as pd

    keys = ["arm", "seed", "run_id", "step"]
    if study.steps.empty:
        return pd.DataFrame(columns=keys)
    steps = study.steps[study.steps["arm"].notna()]
    names = [name for name in steps.columns if name not in keys and steps[name].notna().any()]
    found = steps.astype(dict.fromkeys(("arm", "seed", "run_id"), str))[[*keys, *names]]
    return found.sort_values(keys, kind="stable").rename(columns=_with_unit)


def _with_unit(name: str) -> str:
    unit = UNITS.get(name) or (
        "s" if name.startswith("seconds_") else "bytes" if name.startswith("peak_memory_") else ""
    )
    return f"{name} [{unit}]" if unit else name
