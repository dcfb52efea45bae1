"""finding.json of a committed study: its answer in a line, by the study's criterion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from analysis.stats.inference import tost_p
from analysis.stats.text import interval_text, p_equals, points
from analysis.study.contrasts import METRICS, ArmResult, Primary, declared
from analysis.study.declaration import declaration_of
from analysis.study.gains import gain_finding
from analysis.study.headlines import Headline, missing_contrast, p_text_of, primary_headlines
from analysis.study.load import Study
from analysis.tables.trends import trend_sentences, trend_table
from harness.records.reading import read_json


class CalibrationRow(TypedDict):
    """One scenario of calibration.json; see `calibrate`."""

    n: int
    coverage: float
    fwer: float


class Calibration(TypedDict):
    """What is read of calibration.json."""

    rows: Annotated[list[CalibrationRow], Field(min_length=1)]


def finding(study: Study, primary: Primary, results: list[ArmResult]) -> dict[str, Any]:
    """Answer in a line.

    By the criterion `gain`, how many of the family gain over the base. Otherwise the declared contrast, or
    the largest difference and how many hold, with the gains of null controls. Then trends over ordered
    factors, and the coverage of the intervals in simulation.
    """
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    measure = f"{METRICS[primary.metric].replace('@k', f'@{k}')} on {study.task_text(primary.task)}"
    answer = (
        gain_finding(study, primary, measure)
        if primary.criterion == "gain"
        else _difference(study, primary, results, measure)
    )
    answer += "".join(f"; flagged: {arms} ({flag})" for flag, arms in _flagged(results).items())
    answer += "".join(f"; {said}" for said in trend_sentences(trend_table(study, primary, results)))
    answer += _calibrated(study.folder / "calibration.json")
    return {
        "study": study.name,
        "question": study.record.question,
        "answer": answer,
        "seeds": max((len(r.seeds) for r in results), default=0),
        "declaration": declaration_of(study).as_json(),
    }


def _difference(study: Study, primary: Primary, results: list[ArmResult], measure: str) -> str:
    margin = declared(study).get("margin")
    if missing := missing_contrast(study, primary):
        return f"no answer yet: the declared contrast {missing} was not run; {measure}"
    found = [h for h in primary_headlines(study, primary, results) if h.difference is not None]
    contrast = study.record.primary.get("contrast")
    named = [h for h in found if contrast is not None and h.level == contrast] or found
    answer = f"no difference to take; {measure}" if not named else _line(named[0], measure, margin)
    if len(named) > 1:
        answer = _largest(named, results, measure)
    nulls = set(declared(study).get("nulls") or [])
    return answer + "".join(
        f"; gain of the null control {r.label}: {interval_text(r.gain, signed=True)}"
        for r in results
        if r.gain is not None and r.levels.get(primary.factor or "") in nulls
    )


def _flagged(results: list[ArmResult]) -> dict[str, str]:
    """Flag -> labels of the arms that carry it."""
    flags = dict.fromkeys(flag for r in results for flag in r.flags)
    return {flag: ", ".join(r.label for r in results if flag in r.flags) for flag in flags}


def _calibrated(path: Path) -> str:
    """Coverage that `r1-report calibrate` measured with the study's variances, if it was run."""
    if not path.exists():
        return ""
    rows = read_json(path, Calibration, remedy="write it again with r1-report calibrate")["rows"]
    coverage, error = [row["coverage"] for row in rows], max(row["fwer"] for row in rows)
    return (
        f"; {min(row['n'] for row in rows):,} simulated studies a row with its variances: coverage "
        f"{min(coverage):.3f} to {max(coverage):.3f}, family-wise error at most {error:.3f}"
    )


def _line(headline: Headline, measure: str, margin: float | None) -> str:
    d = headline.difference
    assert d is not None
    where = f", mean of {headline.cells} settings of the other factors" if headline.cells > 1 else ""
    text = f"{headline.level} − {headline.control}: {interval_text(d, signed=True)} points {measure}{where}"
    if d.low is None or d.high is None:
        return f"{text}; no interval, nothing concluded"
    p = tost_p(d, margin=float(margin)) if margin else None
    same = p is not None and p <= 0.05
    within = f"equivalent within ±{points(margin)} ({p_equals(p)})" if same else ""
    if d.low <= 0 <= d.high:
        return f"{text}; {within or 'no difference found'}"
    side = f"{'higher' if d.low > 0 else 'lower'} ({p_text_of(headline)})"
    return f"{text}; {side}" + (f", yet {within}" if within else "")


def _largest(named: list[Headline], results: list[ArmResult], measure: str) -> str:
    tested = [r for r in results if r.p_holm is not None]
    held = sum(r.p_holm is not None and r.p_holm <= 0.05 for r in tested)
    largest = max(named, key=lambda h: abs(h.difference.estimate) if h.difference else 0)
    shown = _line(largest, measure, None).split(";")[0]
    return f"{held} of {len(tested)} differences found (Holm, 0.05); largest: {shown}"
