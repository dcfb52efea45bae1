"""The DeepSeek-R1 paper's numbers beside a study's: reported, not measured, and under another protocol."""

from __future__ import annotations

from pathlib import Path

from analysis.stats.intervals import paired_t
from analysis.stats.text import interval_text
from analysis.study.contrasts import evaluated_tasks, final_rows, has, what_varies
from analysis.study.load import Study
from analysis.tables.table import Table

FILE = Path(__file__).resolve().parent / "literature.csv"
NAME = "literature"
# Column -> (heading, task, metric): cons@64 is a majority vote.
COLUMNS = {
    "aime24_pass1": ("AIME 2024 pass@1", "aime24", "avg"),
    "aime24_cons64": ("AIME 2024 cons@64", "aime24", "maj"),
    "math500_pass1": ("MATH-500 pass@1", "math500", "avg"),
    "swe_verified": ("SWE-bench Verified", "swebench", "avg"),
}
FOOTNOTES = {
    "cons": "cons@64 is not given in the paper.",
    "agentless": "SWE-bench Verified by the Agentless framework, not by one patch from one prompt.",
    "figure": "SWE-bench Verified stands in Figure 1 alone.",
    "openai": "Taken by the paper from OpenAI's reports.",
    "zero": "71.0 is arXiv v1's; Nature's Table 2 says 77.9. It starts from 15.6. Figure 1 votes over 16.",
    "qwq": "AIME 2024 is 50.0 in the paper and 44.0 in its repository's README.",
    "llama": "open-r1's README lists 41.7 as the reported AIME 2024; the paper says 50.4.",
    "rerun": "open-r1's reruns (n = 64) of AIME 2024: Qwen 30.7, 50.8, 65.9, 69.7 for 1.5B, 7B, 14B, 32B; "
    "Llama 43.9 and 63.0 for 8B and 70B.",
}
SOURCE = (
    "Reported, not measured: DeepSeek-R1, arXiv:2501.12948v1 (temperature 0.6, top-p 0.95, 32,768 tokens, "
    "4 to 64 samples a problem; no intervals are given). Another protocol, other models, other compute: a "
    "difference to the measured rows is no effect of any factor here."
)


def reference_table() -> Table:
    """The paper's rows with numbered footnotes where sources conflict."""
    import pandas as pd

    raw = pd.read_csv(FILE, keep_default_na=False, dtype=str)
    numbers = {key: i + 1 for i, key in enumerate(FOOTNOTES)}
    cells = []
    for row in raw.to_dict("records"):
        marks = "".join(f" [{numbers[key]}]" for key in str(row["notes"]).split())
        values = [str(row[c]) or "—" for c in COLUMNS]
        cells.append([f"{row['model']}{marks}", "reported, not measured", *values, f"Table {row['table']}"])
    columns = ["model", "kind", *(heading for heading, _, _ in COLUMNS.values()), "source"]
    notes = " ".join(f"[{numbers[key]}] {text}" for key, text in FOOTNOTES.items())
    return Table(NAME, "Reported in the literature", columns, cells, raw, f"{SOURCE} {notes}")


def literature_table(study: Study) -> Table:
    """The study's arms on the paper's benchmarks, where they were evaluated, above the paper's rows.

    An arm that was not evaluated on one of them has a dash there, and the note says so.
    """
    import pandas as pd

    reference = reference_table()
    tasks = evaluated_tasks(study)
    measured = []
    for arm in study.record.arms:
        cells = []
        for _, benchmark, metric in COLUMNS.values():
            task = next((t for t in tasks if t.split("_")[0] == benchmark), None)
            rows = final_rows(study, arm.label, task) if task else {}
            values = [float(r[metric]) for r in rows.values() if has(r, metric)]
            k = next((int(r["k"]) for r in rows.values()), 0)
            text = interval_text(paired_t(values, varies=what_varies(study))) if values else "—"
            cells.append(f"{text} ({'avg' if metric == 'avg' else 'maj'}@{k})" if values else text)
        measured.append([arm.label, "measured", *cells, study.name])
    missing = sorted({b for _, b, _ in COLUMNS.values()} - {t.split("_")[0] for t in tasks})
    said = f"Not evaluated in {study.name}: {', '.join(missing)}. " if missing else ""
    raw = pd.DataFrame(measured + reference.cells, columns=reference.columns)
    return Table(
        NAME,
        f"{study.name} and the literature",
        reference.columns,
        measured + reference.cells,
        raw,
        said + reference.note,
    )
