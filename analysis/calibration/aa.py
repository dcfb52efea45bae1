"""Do the intervals hold? Simulated studies whose variances are those of a real A/A study.

    y[arm, seed, problem] = Binomial(k, p_problem) / k + arm×seed + arm×problem + rest

Seeds and problems themselves cancel in differences between arms that share them, so they need no draw. Where
each seed of the study has problems of its own, so have those that are drawn, without arm×problem. Arms are
alike in truth: an interval on a difference should hold 0 in 95 of 100 studies, and Holm over a study's
differences should reject one in at most 5 of 100. Hundreds of studies are drawn and tested at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.stats.crossed import pivotal_variances, tail
from analysis.stats.inference import smallest_detectable
from analysis.stats.intervals import mean_squares
from analysis.study.configs import problems_of
from analysis.study.contrasts import final_rows, primary_of
from analysis.study.design import config_differences
from analysis.study.load import Study

Array = NDArray[np.float64]
SEEDS = (3, 5, 10)
ARMS = 4  # a control and three that are compared with it
CHUNK = 500  # studies drawn at a time: 150 MB at 10 seeds and 120 problems


@dataclass(frozen=True)
class Variances:
    """What an A/A study shows, of differences between arms: variances of accuracies in [0, 1].

    `problems` are each problem's mean accuracy, over samples `k` a run, `num_problems` a seed; with
    `own_problems` each seed has others. `rest` is what seed × problem adds beyond sampling. `*_bound`: the
    largest that the study does not rule out (one-sided 95 %), for where it shows none.
    """

    problems: Array
    k: int
    arm_seed: float
    arm_seed_bound: float
    arm_problem: float
    arm_problem_bound: float
    rest: float
    num_arms: int
    num_seeds: int
    num_problems: int
    own_problems: bool = False


def check_alike(study: Study) -> None:
    """Raises ValueError for a study whose arms differ in more than `replicate`: it is no A/A study.

    A rate that each arm's own pilot chose is no other treatment; the choice is what is to be seen.
    """
    free = {"replicate", "trainer.lr"} if study.record.pilot else {"replicate"}
    for difference in config_differences(study):
        keys = [key for key in difference.values if key not in free]
        if keys:
            raise ValueError(
                f"{study.folder}: {difference.arm} differs from {difference.other} in {', '.join(keys)}, and "
                "calibration needs arms that differ in nothing but `replicate`: run ablation=calibration"
            )


def aa_variances(study: Study) -> Variances:
    """Three-way mean squares over arms × seeds × problems at the last checkpoint of the primary task.

    MS_AS = e + P·as, MS_AP = e + S·ap, MS_ASP = e, with e the rest and sampling. Where each seed has problems
    of its own, arms × problems within seeds: MS_A = e + P·as, MS_AP = e. Raises ValueError for fewer than two
    arms, two seeds that all have, or two problems.
    """
    y, k, own = _aa_scores(study)  # [A, S, P]
    arms, num_seeds, problems = y.shape
    p = y.mean(axis=0).ravel() if own else y.mean(axis=(0, 1))
    sampling = float((y * (1 - y)).mean() / (k - 1)) if k > 1 else float((p * (1 - p)).mean())
    if own:
        within = np.array([mean_squares(y[:, s]) for s in range(num_seeds)]).mean(axis=0)
        ms_as, ms_e, df = float(within[0]), float(within[2]), (arms - 1) * num_seeds
        arm_problem, ap_bound = 0.0, 0.0
    else:
        ms_as, ms_ap, ms_e = _mean_squares(y)
        df = (arms - 1) * (num_seeds - 1)
        arm_problem, ap_bound = _component(ms_ap, ms_e, (arms - 1) * (problems - 1), num_seeds)
    arm_seed, as_bound = _component(ms_as, ms_e, df, problems)
    return Variances(
        problems=p,
        k=k,
        arm_seed=arm_seed,
        arm_seed_bound=as_bound,
        arm_problem=arm_problem,
        arm_problem_bound=ap_bound,
        rest=max(0.0, ms_e - sampling),
        num_arms=arms,
        num_seeds=num_seeds,
        num_problems=problems,
        own_problems=own,
    )


def _aa_scores(study: Study) -> tuple[Array, int, bool]:
    """Accuracies [arms, seeds, problems] over seeds that all arms have, the smallest k, whether seeds have
    problems of their own."""
    task = primary_of(study).task
    arms = [rows for arm in study.record.arms if (rows := final_rows(study, arm.label, task))]
    seeds = [s for s in (arms or [{}])[0] if all(s in rows for rows in arms)]
    cells = [rows[s] for rows in arms for s in seeds]  # arm by arm
    by_seed = [{problems_of(rows[s]) for rows in arms} for s in seeds]
    sizes = {len(row["problem_ids"]) for row in cells}
    same = all(len(own) == 1 for own in by_seed) and len(sizes) == 1
    if min(len(arms), len(seeds)) < 2 or not same or min(sizes) < 2:
        raise ValueError(
            f"{study.folder}: {len(arms)} arms share {len(seeds)} seeds; calibration needs two of each, on "
            "the same problems: run ablation=calibration"
        )
    scores = np.array([row["per_problem"] for row in cells])  # [A * S, P]
    own = len(set().union(*by_seed)) > 1
    return scores.reshape(len(arms), len(seeds), -1), min(int(row["k"]) for row in cells), own


def _component(mean_square: float, error: float, df: int, count: int) -> tuple[float, float]:
    """(estimate, bound) of a variance whose mean square expects error + count · variance."""
    from scipy.special import chdtri

    highest = mean_square * df / float(chdtri(df, 0.95))
    return max(0.0, (mean_square - error) / count), max(0.0, (highest - error) / count)


def calibrate(
    variances: Variances,
    *,
    studies: int = 10_000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """calibration.json: coverage of 95 % intervals, family-wise error and power, by seeds and scenario."""
    has_seed = variances.arm_seed or variances.arm_seed_bound
    has_problem = variances.arm_problem or variances.arm_problem_bound
    scenarios = {
        "paired t, samples alone": (0.0, 0.0, paired),
        "paired t, arm × seed": (has_seed, 0.0, paired),
        "paired t, arm × seed and arm × problem": (has_seed, has_problem, paired),
        "crossed t, arm × seed": (has_seed, 0.0, crossed),
        "crossed t, arm × seed and arm × problem": (has_seed, has_problem, crossed),
    }
    if variances.own_problems:  # reports have no crossed t there
        scenarios = {name: row for name, row in scenarios.items() if "crossed" not in name and not row[1]}
    rows = []
    for num_seeds in SEEDS:
        for number, (name, (arm_seed, arm_problem, test)) in enumerate(scenarios.items()):
            progress(f"{num_seeds} seeds, {name}")
            rng = np.random.default_rng([seed, num_seeds, number])
            rows.append(_scenario(variances, rng, name, num_seeds, arm_seed, arm_problem, test, studies))
    listed = {k: v for k, v in vars(variances).items() if k != "problems"}
    return {
        "rows": rows,
        "variances": listed,
        "arms": ARMS,
        "level": 0.95,
        "studies": studies,
        "seed": seed,
    }


def outside(found: dict[str, Any]) -> list[str]:
    """Rows with coverage outside 0.93–0.97, a family-wise error above 0.055, or power 0.03 off its plan."""
    return [
        f"{row['seeds']} seeds, {row['scenario']}"
        for row in found["rows"]
        if not 0.93 <= row["coverage"] <= 0.97
        or row["fwer"] > 0.055
        or abs(row.get("power", 0.8) - 0.8) > 0.03
    ]


def _scenario(
    v: Variances,
    rng: np.random.Generator,
    name: str,
    num_seeds: int,
    arm_seed: float,
    arm_problem: float,
    test: Callable[[Array], Array],
    studies: int,
) -> dict[str, Any]:
    """One row. Power is that of a difference planned for 0.8, added to one arm; paired t alone plans it."""
    fixed = test is paired
    noise = float((v.problems * (1 - v.problems)).mean()) / v.k + v.rest
    sd = sqrt(2 * (arm_seed + noise / v.num_problems))  # of a per-seed difference between two arms
    effect = smallest_detectable(sd=sd, num_seeds=num_seeds) if fixed else None
    covered = rejected = found = total = 0
    for start in range(0, studies, CHUNK):
        count = min(CHUNK, studies - start)
        y = draw(v, rng, count, num_seeds, arm_seed, arm_problem, fixed=fixed)  # [N, A, S, P]
        p_values = []
        for arm in range(1, ARMS):
            d = y[:, arm] - y[:, 0]  # [N, S, P]
            p = test(d)
            covered += int((p > 0.05).sum())  # the 95 % interval holds 0
            total += count
            p_values.append(p)
            if effect is not None and arm == 1:
                found += int((test(d + effect) <= 0.05).sum())
        rejected += int((holm_smallest(np.array(p_values)) <= 0.05).sum())
    row = {
        "seeds": num_seeds,
        "scenario": name,
        "coverage": covered / total,
        "fwer": rejected / studies,
        "n": studies,
    }
    return row if effect is None else row | {"effect": effect, "power": found / studies, "planned_power": 0.8}


def draw(
    v: Variances,
    rng: np.random.Generator,
    studies: int,
    num_seeds: int,
    arm_seed: float,
    arm_problem: float,
    *,
    fixed: bool,
) -> Array:
    """Scores [studies, arms, seeds, problems] of arms that are alike in truth.

    `fixed`: the problems are the target, so arm × problem effects are centred over them; otherwise they are
    a draw of new problems, taken with replacement from the A/A's, for each seed where they are its own.
    """
    problems = v.num_problems
    shape = (studies, ARMS, num_seeds, problems)
    drawn = (studies, 1, num_seeds if v.own_problems else 1, problems)
    p = v.problems if fixed and not v.own_problems else rng.choice(v.problems, size=drawn)
    y = rng.binomial(v.k, p, size=shape) / v.k
    if v.rest > 0:
        y += sqrt(v.rest) * rng.standard_normal(shape)
    if arm_seed > 0:
        y += sqrt(arm_seed) * rng.standard_normal((studies, ARMS, num_seeds, 1))
    if arm_problem > 0:
        effect = sqrt(arm_problem) * rng.standard_normal((studies, ARMS, 1, problems))
        y += effect - effect.mean(axis=-1, keepdims=True) if fixed else effect
    return y


def paired(d: Array) -> Array:
    """p of `stats.paired_t` over per-seed means, for many studies [N, S, P]; [N]."""
    from scipy.special import stdtr

    per_seed = d.mean(axis=2)
    n = per_seed.shape[1]
    se = np.maximum(per_seed.std(axis=1, ddof=1) / sqrt(n), 1e-300)  # no spread cannot be drawn here
    return np.asarray(2 * stdtr(n - 1, -np.abs(per_seed.mean(axis=1)) / se))


def crossed(d: Array) -> Array:
    """p of `stats.crossed_t` for many studies [N, S, P]; [N]."""
    _, seeds, problems = d.shape
    mean = d.mean(axis=(1, 2))
    row, column = d.mean(axis=2) - mean[:, None], d.mean(axis=1) - mean[:, None]  # [N, S], [N, P]
    ms_s = problems * (row**2).sum(axis=1) / (seeds - 1)
    ms_p = seeds * (column**2).sum(axis=1) / (problems - 1)
    everything = ((d - mean[:, None, None]) ** 2).sum(axis=(1, 2))
    ms_e = (everything - ms_s * (seeds - 1) - ms_p * (problems - 1)) / ((seeds - 1) * (problems - 1))
    return tail(mean, pivotal_variances(np.stack([ms_s, ms_p, ms_e], axis=1), seeds, problems))


def holm_smallest(p_values: Array) -> Array:
    """The smallest Holm-adjusted p of each study, [m, N] -> [N]: m times the smallest."""
    return np.minimum(1.0, len(p_values) * p_values.min(axis=0))


def _mean_squares(y: Array) -> tuple[float, float, float]:
    """Interaction mean squares of [A, S, P]: arm × seed, arm × problem, the three-way remainder."""
    arms, seeds, problems = y.shape
    m = y.mean()
    a, s, p = (y.mean(axis=axes, keepdims=True) for axes in ((1, 2), (0, 2), (0, 1)))
    two = {
        "as": y.mean(axis=2, keepdims=True),
        "ap": y.mean(axis=1, keepdims=True),
        "sp": y.mean(axis=0, keepdims=True),
    }
    arm_seed = problems * ((two["as"] - a - s + m) ** 2).sum() / ((arms - 1) * (seeds - 1))
    arm_problem = seeds * ((two["ap"] - a - p + m) ** 2).sum() / ((arms - 1) * (problems - 1))
    rest = y - two["as"] - two["ap"] - two["sp"] + a + s + p - m
    error = (rest**2).sum() / ((arms - 1) * (seeds - 1) * (problems - 1))
    return float(arm_seed), float(arm_problem), float(error)
