"""One verdict a contrast, in words a reader knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from typing import Literal

from analysis.stats.intervals import Interval
from analysis.stats.margins import Margin
from analysis.stats.text import interval_text

Word = Literal["better", "worse", "equivalent", "undecided", "cannot tell"]
ENOUGH_SEEDS = 4  # three give a t with 2 df, whose 95 % interval is 4.3 standard errors wide on each side
STILL = 0.005  # nats a token, KL(policy‖base) on the base's own text: below it a policy is nearly the base
NUMBERS = {1: "one seed", 2: "two seeds", 3: "three seeds"}

NO_GAIN = "no gain in the control"
UNKNOWN_GAIN = "the control's gain over its base is not known"
BASE_TOO = "the untrained base passes the same test of equivalence"
FLOOR = "all at the floor: neither arm is above the best constant answer"
HARDLY_MOVED = "the arms hardly moved from their base"
RATES = "learning rates were chosen by another measure, and over all of them the difference is"
HOLM = "found by itself, but not among all contrasts of the family by Holm's rule"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict is made of, for one contrast and one measure.

    `difference` is arm minus control over seeds, `p_value` its p, adjusted by Holm where it is one of a
    family. `margin_p` is the p of equivalence within `margin`, `base_p` that of the untrained base against
    the control. `at_floor`: neither arm is above the best constant answer. `one_family`: the family without
    which the difference is not told from 0. `confounded`: what else than the factor differs, in words.
    `over_rates`: the difference in the mean over a grid of learning rates, where each arm's was chosen by
    another measure than this one.
    """

    difference: Interval
    p_value: float | None
    control_gain: Interval | None = None
    margin: Margin | None = None
    margin_p: float | None = None
    base_p: float | None = None
    at_floor: bool = False
    hardly_moved: bool = False
    one_family: str | None = None
    confounded: str | None = None
    over_rates: Interval | None = None

    @property
    def alpha(self) -> float:
        return 1 - self.difference.level

    @property
    def found(self) -> bool:
        """True if the difference is found at the stated level, after Holm."""
        return self.p_value is not None and self.p_value <= self.alpha

    @property
    def of_the_rates(self) -> bool:
        """True if arms that are compared over all rates show no difference of the same sign."""
        if self.over_rates is None or self.over_rates.low is None or self.over_rates.high is None:
            return False
        end = self.over_rates.low if self.difference.estimate > 0 else -self.over_rates.high
        return end <= 0

    @property
    def within(self) -> bool:
        """True if the arms are within the margin, in a study that could tell if they were not."""
        inside = self.margin_p is not None and self.margin_p <= self.alpha
        return inside and self.insensitive is None

    @property
    def insensitive(self) -> str | None:
        """Why this study could not claim that two arms are alike (assay sensitivity); None if it could."""
        if self.control_gain is None:
            return UNKNOWN_GAIN
        if self.control_gain.low is None or self.control_gain.low <= 0:
            return NO_GAIN
        return BASE_TOO if self.base_p is not None and self.base_p <= self.alpha else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says why where the word alone does not: for undecided and cannot tell."""

    word: Word
    reason: str | None = None


def one_family_text(family: str) -> str:
    """Why a difference that is found tells nothing of the others."""
    return f"one family, {family}, carries the difference"


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one contrast; the first rule that holds decides.

    1. cannot tell: fewer than 4 seeds, no interval, both at the floor, both hardly moved, or confounded.
    2. equivalent: within the declared margin, and the study can tell the control from its base.
    3. cannot tell: a difference is found, and one family carries it; or the arms' learning rates were chosen
       by another measure, and over the whole grid it is not found.
    4. better, worse: a difference is found.
    5. cannot tell: a margin is declared, and the control did not gain or the base passes as well.
    6. undecided.

    A difference that is found within the margin is equivalent: it is too small to matter.
    """
    if reason := next(_no_verdict(evidence), None):
        return Verdict("cannot tell", reason)
    if evidence.within:
        return Verdict("equivalent")
    if evidence.found:
        if evidence.one_family is not None:
            return Verdict("cannot tell", one_family_text(evidence.one_family))
        if evidence.of_the_rates:
            whole = interval_text(evidence.over_rates, signed=True)
            return Verdict("cannot tell", f"{RATES} {whole} points")
        return Verdict("better" if evidence.difference.estimate > 0 else "worse")
    if evidence.margin is not None and evidence.insensitive is not None:
        return Verdict("cannot tell", evidence.insensitive)
    alone = evidence.difference.p_value
    return Verdict("undecided", HOLM if alone is not None and alone <= evidence.alpha else None)


def _no_verdict(evidence: Evidence) -> Iterator[str]:
    """Reasons for which no verdict is given whatever the numbers."""
    d = evidence.difference
    if d.n < ENOUGH_SEEDS:
        yield NUMBERS[d.n]
    if d.low is None:
        yield d.reason or "no interval"
    if evidence.at_floor:
        yield FLOOR
    if evidence.hardly_moved:
        yield HARDLY_MOVED
    if evidence.confounded is not None:
        yield evidence.confounded


@dataclass(frozen=True, slots=True)
class Movement:
    """How far an arm went from its base: gain in avg@k, one run's standard errors, KL in nats a token."""

    gain: float | None
    error_before: float | None = None
    error_after: float | None = None
    drift: float | None = None

    @property
    def hardly(self) -> bool:
        """True if the gain is within one run's sampling error and the KL to the base, if known, below STILL.

        Both must hold: accuracy may stand still while the policy goes far, as under a random reward.
        """
        close = None if self.drift is None else self.drift < STILL
        if self.gain is None or self.error_before is None or self.error_after is None:
            return bool(close)
        return abs(self.gain) <= hypot(self.error_before, self.error_after) and close is not False
