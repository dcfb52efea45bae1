"""Every estimator behind the tables, pure and in one namespace: formula, source, what varies.

analysis.metrics     avg@k, pass@k, maj@k, best of k, decomposition of a gain, best constant answer
analysis.intervals   paired t (primary), interquartile mean, probability of improvement, ...
analysis.crossed     seeds × problems, for claims about new problems
analysis.bootstrap   percentile, pigeonhole and stratified bootstraps: secondary views
analysis.inference   Holm, equivalence, power, trend, scaling fit, variance components
"""

from __future__ import annotations

from analysis.bootstrap import bootstrap_interval, crossed_bootstrap, two_sample_bootstrap
from analysis.crossed import crossed_t
from analysis.inference import (
    Equivalence,
    ScalingFit,
    VarianceComponents,
    holm,
    loglinear_fit,
    power,
    seeds_needed,
    smallest_detectable,
    tost,
    tost_p,
    trend_test,
    variance_components,
)
from analysis.intervals import (
    Interval,
    interquartile_mean,
    memorisation_gap,
    paired_t,
    probability_of_improvement,
    problems_t,
)
from analysis.metrics import (
    Decomposition,
    Estimate,
    avg_at_k,
    best_constant_answer,
    best_of_k,
    decompose_gain,
    decompose_shares,
    kind_shares,
    maj_at_k,
    pair_auc,
    pass_at_k,
    pass_curve,
)

__all__ = [
    "Decomposition",
    "Equivalence",
    "Estimate",
    "Interval",
    "ScalingFit",
    "VarianceComponents",
    "avg_at_k",
    "best_constant_answer",
    "best_of_k",
    "bootstrap_interval",
    "crossed_bootstrap",
    "crossed_t",
    "decompose_gain",
    "decompose_shares",
    "holm",
    "interquartile_mean",
    "kind_shares",
    "loglinear_fit",
    "maj_at_k",
    "memorisation_gap",
    "pair_auc",
    "paired_t",
    "pass_at_k",
    "pass_curve",
    "power",
    "probability_of_improvement",
    "problems_t",
    "seeds_needed",
    "smallest_detectable",
    "tost",
    "tost_p",
    "trend_test",
    "two_sample_bootstrap",
    "variance_components",
]
