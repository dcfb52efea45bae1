"""The report's table of transfer: gains on families that training never sees, beside those that it sees."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.stats.text import interval_text
from analysis.study.anatomy import BEST
from analysis.study.contrasts import METRICS, Primary
from analysis.study.load import Study
from analysis.study.transfer import Transfer
from analysis.tables.arms import interval_columns
from analysis.tables.table import Table, to_frame

NOTE = (
    "Gains over the untrained base, points, on {task} and on families that training never sees; transfer is "
    "the second as a share of the first, with Fieller's interval over seeds (— where the first gain is not "
    "told from 0, or is a loss). Own best: each model at its own temperature and top-p, chosen on validation "
    "in each seed. What a base knows of these families is in the table of every split."
)


def transfer_table(study: Study, primary: Primary, found: Sequence[Transfer]) -> Table:
    """One row an arm and measure."""
    cells = [
        [
            row.label,
            "avg@k, own best" if row.measure == BEST else METRICS[row.measure],
            interval_text(row.trained, signed=True),
            interval_text(row.untrained, signed=True),
            _ratio_text(row),
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
            }
            for row in found
        ]
    )
    columns = ["arm", "measure", "trained families", "untrained families", "transfer"]
    note = NOTE.format(task=study.task_text(primary.task))
    return Table("transfer", "Transfer to untrained families", columns, cells, raw, note)


def _ratio_text(row: Transfer) -> str:
    if row.ratio is None or row.trained.low is None or row.trained.low <= 0:
        return "—"
    text = f"{row.ratio.estimate:.2f}"
    if row.ratio.low is not None and row.ratio.high is not None:
        text += f" [{row.ratio.low:.2f}, {row.ratio.high:.2f}]"
    return text.replace("-", "−")
