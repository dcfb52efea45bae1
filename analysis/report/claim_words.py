"""Words that the rules on the seed's claims give, and what their sentences share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from analysis.report.committed import Committed

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
SHOWN, REFUTED_HERE, CANNOT_TELL = "shown", "refuted at this scale", "this study cannot tell"
Rule = Callable[[Sequence[Committed]], tuple[str, str] | None]


def each(texts: Sequence[str], arms: Sequence[str] = ()) -> str:
    """The texts joined, each with its arm's name where there are several."""
    named = zip(texts, arms, strict=True) if len(texts) > 1 and arms else ((text, "") for text in texts)
    return _joined([f"{text} (`{arm}`)" if arm else text for text, arm in named])


def _joined(texts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), *texts[-1:]])
