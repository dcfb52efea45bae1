"""Accuracy metrics of sampled answers, defined once: avg@k, pass@k, maj@k, and where a gain comes from.

Every metric takes `correct[problem][sample]` and returns an `Estimate` in [0, 1] with two standard errors:

    se_sampling   these problems fixed; only the samples would be drawn anew
    se_problems   the problems would be drawn anew as well, sd over problems / √P; it contains se_sampling
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, sqrt

import numpy as np

from analysis.stats.voting import best_value_and_variance, vote_value, vote_variance

Correct = Sequence[Sequence[int]]  # 0 or 1
Answers = Sequence[Sequence[Hashable | None]]
Shares = Mapping[str, tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's mean over problems. A standard error is None where the data cannot give it."""

    value: float
    se_sampling: float | None
    se_problems: float | None
    n_problems: int
    k: int
    per_problem: tuple[float, ...]

    @property
    def errors(self) -> tuple[float | None, float | None]:
        """(se_sampling, se_problems) to show: not the 0 of problems that are all wrong or all right.

        A spread of 0 is no error then; `intervals.wilson` has an interval.
        """
        if set(self.per_problem) not in ({0.0}, {1.0}):
            return self.se_sampling, self.se_problems
        return self.se_sampling or None, self.se_problems or None


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A gain's two parts: total = from_choice + from_skill."""

    total: float
    from_choice: float
    from_skill: float


def avg_at_k(correct: Correct) -> Estimate:
    """Mean accuracy over P problems and the k = n samples of each: avg@k = mean_i c_i / n_i.

    se_sampling² = Σ_i p_i (1 − p_i) / (n_i − 1) / P², unbiased; None if a problem has one sample.
    se_problems = sd_i(c_i / n_i) / sqrt(P) (Miller, arXiv:2411.00640, eq. 2); None for one problem.
    Raises ValueError for no problems or a problem without samples.
    """
    counts = _counts(correct, k=1)
    values = [c / n for n, c in counts]
    variances = [v * (1 - v) / (n - 1) if n > 1 else None for v, (n, _) in zip(values, counts, strict=True)]
    return _estimate(values, variances, k=min(n for n, _ in counts))


def pass_at_k(correct: Correct, k: int) -> Estimate:
    """P(one of k samples is correct): mean_i 1 − C(n_i − c_i, k) / C(n_i, k), unbiased for k ≤ n.

    Chen et al., arXiv:2107.03374, eq. 1. With f = n − c failures and U = C(f, k) / C(n, k), the sampling
    variance of a problem is U² − C(f, 2k) / C(n, 2k) (unbiased, never negative) for 2k ≤ n, else that of the
    estimator under Binomial(n, c / n). Standard errors are None as in `avg_at_k`.
    Raises ValueError for k < 1 or k > n.
    """
    counts = _counts(correct, k=k)
    values = [_pass_value(n, c, k) for n, c in counts]
    return _estimate(values, [_pass_variance(n, c, k) for n, c in counts], k=k)


def pass_curve(correct: Correct, ks: Sequence[int]) -> dict[int, float]:
    """`pass_at_k` of several k without standard errors, the samples counted once."""
    counts = _counts(correct, k=max(ks))
    return {k: float(np.mean([_pass_value(n, c, k) for n, c in counts])) for k in ks}


def maj_at_k(correct: Correct, answers: Answers, k: int) -> Estimate:
    """Accuracy of a majority vote: its expectation over the C(n, k) subsets of a problem's n samples.

    `answers[problem][sample]` is the grader's equivalence-class key, None where nothing was extracted. None
    abstains; t classes tied at the top score 1 / t if the right one is among them; all abstaining is wrong.
    Correct samples are one class whatever their keys. k = n is the plain vote. (Self-consistency,
    arXiv:2203.11171; the expectation over subsets is exact, to rounding, not a Monte Carlo mean.)

    se_sampling: delete-one jackknife over a problem's samples for k < n (conservative, Efron & Stein 1981);
    for k = n the variance of the vote under n draws from the empirical answer distribution, exact to n = 64
    and beyond by 4,000 draws with a fixed seed. None for n = 1.
    Raises ValueError for k > n, a correct sample without an answer, or one key graded both ways.
    """
    votes = _all_votes(correct, answers, k)
    values = [vote_value(*v, k) for v in votes]
    return _estimate(values, [vote_variance(*v, k) for v in votes], k=k)


def vote_accuracy(correct: Correct, answers: Answers, k: int) -> float:
    """`maj_at_k` without its standard errors, which take most of its time."""
    return float(np.mean(vote_values(correct, answers, k)))


def vote_values(correct: Correct, answers: Answers, k: int) -> tuple[float, ...]:
    """`maj_at_k` of each problem."""
    return tuple(vote_value(*v, k) for v in _all_votes(correct, answers, k))


def _all_votes(correct: Correct, answers: Answers, k: int) -> list[tuple[int, tuple[int, ...], int]]:
    """`_votes` of each problem, after checking the lists."""
    _counts(correct, k=k)
    if len(answers) != len(correct):
        raise ValueError(f"answers: {len(answers)} problems, correct: {len(correct)}; give one row each")
    return [_votes(i, c, a) for i, (c, a) in enumerate(zip(correct, answers, strict=True))]


def best_of_k(correct: Correct, scores: Sequence[Sequence[float]]) -> Estimate:
    """Accuracy of the sample with the highest score among a problem's n = k: best-of-n, arXiv:2110.14168.

    `scores[problem][sample]` are a verifier's. Samples tied at the top count by their mean, the expectation
    of a choice at random. se_sampling: exact variance under n draws with their scores from the problem's own
    samples, as for the vote of `maj_at_k`; None for n = 1.
    Raises ValueError for rows that differ in length from correct's, or a score that is not finite.
    """
    counts = _counts(correct, k=1)
    if [len(row) for row in scores] != [n for n, _ in counts]:
        raise ValueError("scores: rows differ in number or length from correct's; give one score a sample")
    if not all(np.isfinite(row).all() for row in scores):
        raise ValueError("scores: one is not finite; train the reward model with a lower learning rate")
    found = [best_value_and_variance(c, s) for c, s in zip(correct, scores, strict=True)]
    return _estimate([v for v, _ in found], [v for _, v in found], k=min(n for n, _ in counts))


def pair_auc(correct: Correct, scores: Sequence[Sequence[float]]) -> float | None:
    """Share of pairs of a right and a wrong sample of one row in which the right one scores higher.

    Ties count half, pairs of all rows alike. With all samples in one row it is the AUC, in which an easy
    problem's samples are told from a hard one's too; with a row a problem it is what best-of-n lives on. None
    without a pair.
    """
    won, pairs = 0.0, 0
    for flags, row in zip(correct, scores, strict=True):
        right, values = np.asarray(flags, dtype=bool), np.asarray(row, dtype=float)
        difference = values[right, None] - values[~right]  # [R, W]
        won += float((difference > 0).sum() + 0.5 * (difference == 0).sum())
        pairs += difference.size
    return won / pairs if pairs else None


def decompose_shares(before: Shares, after: Shares) -> Decomposition:
    """Change in accuracy split into choosing to derive and accuracy given the kind; kinds g: direct, stepped.

        Δ = Σ_g (p'_g − p_g) a_g + Σ_g p'_g (a'_g − a_g)

    `before` and `after` give each kind's (p_g, a_g), as `kind_shares` does: its share of all answers, pooled
    over problems, and the accuracy within it; primes are after. A kind that did not occur before has no a_g:
    it takes a'_g, so its whole effect counts as choice. Before and after may differ in samples. Uncertainty:
    apply it to each seed and give the parts to `paired_t`.
    """
    from_choice = from_skill = 0.0
    for kind in ("direct", "stepped"):
        (p0, a0), (p1, a1) = before[kind], after[kind]
        base = a0 if a0 is not None else (a1 or 0.0)
        from_choice += (p1 - p0) * base
        from_skill += p1 * ((a1 if a1 is not None else base) - base)
    return Decomposition(from_choice + from_skill, from_choice, from_skill)


def best_constant_answer(answers: Sequence[str]) -> tuple[str, float]:
    """The single answer that is right most often over a split's reference answers, and its accuracy.

    Ties go to the answer that sorts first. Raises ValueError for no answers.
    """
    if not answers:
        raise ValueError("answers: empty; give the reference answer of every problem in the split")
    answer, count = min(Counter(answers).items(), key=lambda item: (-item[1], item[0]))
    return answer, count / len(answers)


def _counts(correct: Correct, *, k: int) -> list[tuple[int, int]]:
    """(samples, correct samples) of each problem, after checking them against k."""
    if len(correct) == 0:
        raise ValueError("correct: no problems; give at least one row of samples")
    if k < 1:
        raise ValueError(f"k={k}: must be at least 1")
    counts = [(len(row), sum(map(bool, row))) for row in correct]
    for i, (n, _) in enumerate(counts):
        if n < k:
            raise ValueError(f"k={k}: problem {i} has {n} samples; draw at least k a problem or lower k")
    return counts


def _estimate(values: Sequence[float], variances: Sequence[float | None], *, k: int) -> Estimate:
    num = len(values)
    known = [v for v in variances if v is not None]
    return Estimate(
        value=float(np.mean(values)),
        se_sampling=sqrt(sum(known)) / num if len(known) == num else None,
        se_problems=float(np.std(values, ddof=1)) / sqrt(num) if num > 1 else None,
        n_problems=num,
        k=k,
        per_problem=tuple(float(v) for v in values),
    )


@lru_cache(maxsize=4096)
def _pass_value(n: int, c: int, k: int) -> float:
    return 1 - comb(n - c, k) / comb(n, k)


@lru_cache(maxsize=4096)
def _pass_variance(n: int, c: int, k: int) -> float | None:
    if n < 2:
        return None
    fails = n - c
    if 2 * k <= n:
        return (comb(fails, k) / comb(n, k)) ** 2 - comb(fails, 2 * k) / comb(n, 2 * k)
    p = c / n
    pmf = np.array([comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)])
    score = np.array([1 - comb(n - x, k) / comb(n, k) for x in range(n + 1)])
    return max(0.0, float(pmf @ score**2 - (pmf @ score) ** 2))


def _votes(
    problem: int, correct: Sequence[int], answers: Sequence[Hashable | None]
) -> tuple[int, tuple[int, ...], int]:
    """(votes for the right class, sorted votes of the wrong classes, abstentions)."""
    if len(answers) != len(correct):
        raise ValueError(f"answers: problem {problem} has {len(answers)}, correct has {len(correct)}")
    right = [key for is_correct, key in zip(correct, answers, strict=True) if is_correct]
    wrong: dict[Hashable, int] = {}
    for is_correct, key in zip(correct, answers, strict=True):
        if not is_correct and key is not None:
            wrong[key] = wrong.get(key, 0) + 1
    if None in right:
        raise ValueError(f"answers: problem {problem} has a correct sample with no extracted answer")
    if both := [key for key in right if key in wrong]:
        raise ValueError(f"answers: problem {problem}: key {both[0]!r} is graded both correct and wrong")
    votes = tuple(sorted(wrong.values()))
    return len(right), votes, len(answers) - len(right) - sum(votes)


def kind_shares(correct: Correct, stepped: Correct) -> Shares:
    """Kind -> (share of answers, accuracy within the kind or None where there are none)."""
    _counts(correct, k=1)
    if [len(row) for row in correct] != [len(row) for row in stepped]:
        raise ValueError(
            "stepped: its rows differ in number or length from correct's; give one flag a sample"
        )
    right = np.array([bool(c) for row in correct for c in row])
    steps = np.array([bool(s) for row in stepped for s in row])
    kinds = {"direct": ~steps, "stepped": steps}
    return {kind: (float(m.mean()), float(right[m].mean()) if m.any() else None) for kind, m in kinds.items()}
