"""The report's table of transfer: gains on families that training never sees, beside those that it sees."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.stats.text import interval_text
from analysis.study.anatomy import BEST
from analysis.study.contrasts import METRICS
from analysis.study.transfer import CARRIES, STAYS, Transfer
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

NOTE = (
    "Gains over the untrained base, points, on families that are trained and on others that training never "
    "sees; transfer is the second as a share of the first, with Fieller's interval over seeds (— where the "
    "first gain is not told from 0, or is a loss). The gain stays where that interval is below {stays:g}, and"
    " carries over where it is above {carries:g}. Own best: each model at its own temperature and top-p, "
    "chosen on validation in each seed. What a base knows of these families is in the table of every split."
)
CROSSED_NOTE = (
    " Crossed: two arms of which each trained the families that the other leaves out, taken together. Both "
    "columns hold the same families there; a single arm's ratio also says which of its halves gains easily."
)


def transfer_answers(found: Sequence[Transfer]) -> list[str]:
    """A sentence for each arm that gains: how much of it reaches families that training never sees.

    Where arms are crossed, of these alone.
    """
    lines = []
    crossed = any(row.of for row in found)
    for label in dict.fromkeys(row.label for row in found if row.of or not crossed):
        said = [
            f"{_ratio_text(row)} of {interval_text(row.trained, signed=True)} points in {_measure(row)}"
            + f" ({row.word})" * (row.word is not None)
            for row in found
            if row.label == label and row.claimed is not None
        ]
        if said:
            lines.append(f"Share of the gain of {label} that untrained families have: {'; '.join(said)}.")
    return lines


def transfer_table(found: Sequence[Transfer]) -> Table:
    """One row an arm and measure."""
    cells = [
        [
            row.label,
            _measure(row),
            interval_text(row.trained, signed=True),
            interval_text(row.untrained, signed=True),
            _ratio_text(row),
            row.word or "—",
        ]
        for row in found
    ]
    raw = to_frame(
        [
            {
                "arm": row.label,
                "measure": row.measure,
                **interval_columns("trained", row.trained),
                **interval_columns("untrained", row.untrained),
                **interval_columns("ratio", row.ratio),
                "word": row.word,
                "of": "; ".join(row.of),
            }
            for row in found
        ]
    )
    columns = ["arm", "measure", "trained families", "untrained families", "transfer", "the gain"]
    note = NOTE.format(stays=STAYS, carries=CARRIES) + CROSSED_NOTE * any(row.of for row in found)
    return Table("transfer", "Transfer to untrained families", columns, cells, raw, note)


def _measure(row: Transfer) -> str:
    return "avg@k, own best" if row.measure == BEST else METRICS[row.measure]


def _ratio_text(row: Transfer) -> str:
    ratio = row.claimed
    if ratio is None:
        return "—"
    text = f"{ratio.estimate:.2f}"
    if ratio.low is not None and ratio.high is not None:
        text += f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return text.replace("-", "−")
