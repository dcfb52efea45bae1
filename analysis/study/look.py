"""One look at a study that adds seeds by a rule: is it decided, and how many seeds does it still need?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.contrast import Judged
from analysis.stats.intervals import Interval, student_p
from analysis.stats.sequential import Looks
from analysis.study.contrasts import arm_results, declared, primary_of
from analysis.study.gains import of_family
from analysis.study.load import Study
from analysis.study.looks import seed_rule
from analysis.study.verdicts import contrast_verdicts
from harness.records.looks import Look, SeedRule, Seen

DECIDED = ("better", "worse", "equivalent")


@dataclass(frozen=True)
class _Seen:
    """A primary contrast: its adjusted interval, its verdict, and what a verdict rests on."""

    name: str
    interval: Interval
    word: str
    reason: str | None
    judged: Judged | None = None

    @property
    def half_width(self) -> float | None:
        return None if self.interval.width is None else self.interval.width / 2


def look_at(study: Study) -> Look:
    """What the study's rule sees now. Raises ValueError without a rule, or with a damaged one."""
    rule = seed_rule(study.folder, study.record.declared)
    if rule is None or study.looks is None:
        raise ValueError(
            f"{study.folder}: declares no rule for seeds; launch it with until=0.5, or until=verdict"
        )
    seen = primary_contrasts(study)
    done, reason = _decided(rule, seen)
    needed = None if done or not seen else _needed(rule, study.looks, seen)
    return Look(
        num_seeds=min((s.interval.n for s in seen), default=0),
        contrasts=[
            Seen(
                name=s.name,
                estimate=s.interval.estimate,
                low=s.interval.low,
                high=s.interval.high,
                verdict=s.word,
                reason=s.reason,
            )
            for s in seen
        ],
        done=done,
        reason=reason,
        needed=needed,
    )


def primary_contrasts(study: Study) -> list[_Seen]:
    """The declared contrast; without one, each level of the declared family, or each level there is.

    By the criterion `gain`, the gain of each level of the family. Empty while no seed has finished.
    """
    primary = primary_of(study)
    family = declared(study).get("family") or []
    if primary.criterion == "gain":
        return [
            _Seen(g.level, g.interval, *_gain_word(g.interval))
            for g in of_family(study, primary)
            if g.interval is not None
        ]
    named = study.record.primary.get("contrast")
    wanted = [named] if named is not None else family
    return [
        _Seen(
            f"{c.level} − {c.control}",
            c.primary.evidence.difference,
            c.primary.verdict.word,
            c.primary.verdict.reason,
            c.primary,
        )
        for c in contrast_verdicts(study, primary, arm_results(study, primary))
        if not wanted or c.level in wanted
    ]


def _gain_word(interval: Interval) -> tuple[str, str | None]:
    """Verdict on a gain over the base: its interval lies above 0, below it, or holds it."""
    if interval.low is None or interval.high is None:
        return "cannot tell", interval.reason
    return ("better" if interval.low > 0 else "worse" if interval.high < 0 else "undecided"), None


def _decided(rule: SeedRule, seen: Sequence[_Seen]) -> tuple[bool, str]:
    """Whether the rule stops, and why or why not."""
    if not seen:
        return False, "no seed has finished in both arms"
    if rule.half_width is None:
        open_ = [s for s in seen if s.word not in DECIDED]
        if not open_:
            return True, ", ".join(dict.fromkeys(s.word for s in seen))
        return False, "; ".join(dict.fromkeys(s.word + (f", {s.reason}" if s.reason else "") for s in open_))
    widths = [s.half_width for s in seen]
    if any(w is None for w in widths):
        return False, next(s.interval.reason or "no interval" for s in seen if s.half_width is None)
    widest = 100 * max(w for w in widths if w is not None)
    done = widest <= rule.half_width
    return done, f"half width {widest:.4g} {'is at most' if done else 'is above'} {rule.half_width:g} points"


def _needed(rule: SeedRule, looks: Looks, seen: Sequence[_Seen]) -> int | None:
    """Seeds at which every contrast would be decided if estimates and spreads stay; None where not known."""
    if rule.half_width is not None:
        found = [looks.seeds_for_width(s.interval, rule.half_width / 100) for s in seen]
    else:
        found = [_needed_for_verdict(looks, s, len(seen)) for s in seen]
    known = [n for n in found if n is not None]
    return max(known) if len(known) == len(found) else None


def _needed_for_verdict(looks: Looks, seen: _Seen, num: int) -> int | None:
    """Seeds for a difference, at Bonferroni's share of the level, or for equivalence: the fewer."""
    interval, alpha = seen.interval, 1 - seen.interval.level
    if seen.word in DECIDED:
        return interval.n
    p = (
        None
        if not interval.se or interval.df is None
        else student_p(interval.estimate / interval.se, interval.df)
    )
    found = [looks.seeds_for_p(p, interval.df, interval.n, alpha=alpha / num)]
    if seen.judged is not None and seen.judged.margin_p_plain is not None:
        # TOST is one-sided: twice its p has to be found at twice the level.
        twice = 2 * seen.judged.margin_p_plain
        found.append(looks.seeds_for_p(twice, interval.df, interval.n, alpha=2 * alpha))
    known = [n for n in found if n is not None]
    return min(known, default=None)
