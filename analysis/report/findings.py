"""finding.json of a committed study: its answer in a line, by the study's criterion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from analysis.report.verdict_text import beside_text, word_text
from analysis.stats.contrast import Judged
from analysis.stats.text import interval_text
from analysis.study.contrasts import METRICS, ArmResult, Primary, declared
from analysis.study.declaration import declaration_of
from analysis.study.gains import gain_finding
from analysis.study.headlines import missing_contrast
from analysis.study.load import Study
from analysis.study.transfer import HELDOUT, transfers
from analysis.study.verdicts import ContrastVerdict, contrast_verdicts
from analysis.tables.transfer import transfer_answers
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
    factors, and the coverage of the intervals in simulation. `verdicts`: a row a contrast and measure.
    """
    k = next((int(r.means["k"] or 0) for r in results if r.means["k"]), 0)
    measure = f"{METRICS[primary.metric].replace('@k', f'@{k}')} on {study.task_text(primary.task)}"
    contrasts = [] if primary.criterion == "gain" else contrast_verdicts(study, primary, results)
    answer = (
        gain_finding(study, primary, measure)
        if primary.criterion == "gain"
        else _difference(study, primary, results, measure, contrasts)
    )
    if study.record.primary.get("split") == HELDOUT:
        said = transfer_answers(transfers(study, primary))
        answer += "".join(f"; {line[0].lower()}{line[1:].rstrip('.')}" for line in said)
    answer += "".join(f"; flagged: {arms} ({flag})" for flag, arms in _flagged(results).items())
    answer += "".join(f"; {said}" for said in trend_sentences(trend_table(study, primary, results)))
    answer += _calibrated(study.folder / "calibration.json")
    return {
        "study": study.name,
        "question": study.record.question,
        "answer": answer,
        "seeds": min((len(r.seeds) for r in results if r.seeds), default=0),
        "declaration": declaration_of(study).as_json(),
        "verdicts": [verdict_row(c, metric, j) for c in contrasts for metric, j in c.measures.items()],
    }


def verdict_row(contrast: ContrastVerdict, metric: str, judged: Judged) -> dict[str, Any]:
    """One verdict with the numbers that it was made of; accuracies in [0, 1]."""
    evidence, ratio, most = judged.evidence, judged.ratio, judged.largest
    row: dict[str, Any] = {
        "factor": contrast.factor,
        "level": contrast.level,
        "control": contrast.control,
        "metric": metric,
        "verdict": judged.verdict.word,
        "reason": judged.verdict.reason,
        "p_value": evidence.difference.p_value,
        "p_holm": evidence.p_value,
        "margin": evidence.margin and evidence.margin.size(evidence.control_gain),
        "margin_p": evidence.margin_p,
        "base_p": evidence.base_p,
        "largest_family": most and most.family,
        "largest_family_share": most and most.share,
    }
    named = {"difference": evidence.difference, "control_gain": evidence.control_gain, "gain_ratio": ratio}
    for name, interval in {**named, "new_families": judged.new_families}.items():
        row[name] = interval and [interval.estimate, interval.low, interval.high]
    return row


def _difference(
    study: Study,
    primary: Primary,
    results: list[ArmResult],
    measure: str,
    found: list[ContrastVerdict],
) -> str:
    if missing := missing_contrast(study, primary):
        return f"no answer yet: the declared contrast {missing} was not run; {measure}"
    contrast = study.record.primary.get("contrast")
    named = [c for c in found if contrast is not None and c.level == contrast] or found
    answer = f"no difference to take; {measure}" if not named else _line(named[0], measure)
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


def _line(contrast: ContrastVerdict, measure: str) -> str:
    """`kl − sft: −1.3 [−2.1, −0.4] points avg@16 on test; undecided; in greedy: better, +3.5 [..]`."""
    where = f", mean of {contrast.cells} settings of the other factors" if contrast.cells > 1 else ""
    primary, size = contrast.primary, interval_text(contrast.primary.evidence.difference, signed=True)
    text = f"{contrast.level} − {contrast.control}: {size} points {measure}{where}; {word_text(primary)}"
    others = list(contrast.measures.items())[1:]
    return text + "".join(f"; {beside_text(j, METRICS[metric])}" for metric, j in others)


def _largest(named: list[ContrastVerdict], results: list[ArmResult], measure: str) -> str:
    tested = [r for r in results if r.p_holm is not None]
    held = sum(r.p_holm is not None and r.p_holm <= 0.05 for r in tested)
    largest = max(named, key=lambda c: abs(c.primary.evidence.difference.estimate))
    shown = _line(largest, measure).split(";")[0]
    return f"{held} of {len(tested)} differences found (Holm, 0.05); largest: {shown}"
