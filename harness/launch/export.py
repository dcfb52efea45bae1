"""`python -m harness export RUN FOLDER`: a run's model as a folder for the hub. Imports no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.launch.options import Parser
from harness.launch.runs import find_run
from harness.records.published import BASES, CHECKPOINTS, make_folder, sync, temporary_of, verify
from harness.records.reasons import naming
from harness.records.records import BaseRecord, RunRecord, read_base, read_run
from harness.schema.run_config import RunConfig

_DESCRIPTION = """Write the model of a run to FOLDER, as transformers, vLLM and lm-eval load it: weights with
adapters merged, tokenizer, chat template, generation settings, and a model card with the run's evaluation."""


def main(arguments: Sequence[str]) -> int:
    """Export what the arguments name. Raises ValueError for a run, a step or a folder that will not do."""
    from harness.model.files.export import DTYPES

    parser = Parser(prog="python -m harness export", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="a run's folder, or its id under the folder of results")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to write; new, or empty")
    parser.add_argument(
        "--step", type=int, metavar="N", help="the checkpoint of this step (default: the last)"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the weights (default: as they are)")
    parser.add_argument(
        "--outputs", type=Path, default=Path("outputs"), metavar="DIR", help="folder of results (outputs)"
    )
    options = parser.parse_args(list(arguments))
    run = find_run(options.run, options.outputs)
    for line in export(run, options.folder, step=options.step, dtype=options.dtype):
        print(line)
    return 0


def export(run: Path, folder: Path, *, step: int | None = None, dtype: str | None = None) -> list[str]:
    """Write a run's checkpoint and its card to `folder`, whole or not at all. Returns what to say of it.

    `step` None: the last checkpoint. Raises ValueError where it cannot be done: a folder with something in
    it, no such checkpoint, a damaged record or file of weights.
    """
    _check_target(folder)
    record = read_run(run)
    try:
        config = RunConfig.model_validate(record.config)
    except ValidationError as error:
        made = str(record.code.get("commit") or "of another version")[:10]
        raise ValueError(
            f"{run}: its config is another version's ({error.error_count()} fields); export it with the code "
            f"that made it, commit {made}"
        ) from None
    chosen, last = _chosen_step(run, record, step)
    weights = run / CHECKPOINTS / f"step_{chosen:06d}"
    verify(weights, {"owner": record.run_id, "step": chosen})
    _write_whole(folder, lambda target: _fill(target, run, record, config, chosen, last, dtype))
    return _said(record, folder, chosen, last)


def _check_target(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: a file; name a folder that is new or empty")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder}: not empty; name a folder that is new or empty")


def _chosen_step(run: Path, record: RunRecord, step: int | None) -> tuple[int, int]:
    """(step to export, the run's last). Raises ValueError where that checkpoint is not there."""
    there = sorted(int(p.name.removeprefix("step_")) for p in (run / CHECKPOINTS).glob("step_*"))
    if not there:
        why = f"{record.status}: {record.reason}" if record.reason else record.status
        raise ValueError(f"{run}: no checkpoint ({why}); launch the run again to make one")
    last = max(there[-1], record.steps_done)
    chosen = there[-1] if step is None else step
    if chosen not in there:
        raise ValueError(
            f"--step {step}: {record.run_id} has no such checkpoint; it has {', '.join(map(str, there))} "
            "(eval.at_steps keeps others)"
        )
    return chosen, last


def _fill(
    target: Path, run: Path, record: RunRecord, config: RunConfig, step: int, last: int, dtype: str | None
) -> None:
    """Write the model, its card and its settings."""
    from harness.launch.card_stages import earlier_stages
    from harness.launch.exported import Exported, data_report, shared_settings
    from harness.launch.measured import measured
    from harness.launch.model_card import model_card
    from harness.model.dims import num_parameters
    from harness.model.files.export import stored_dtype, write_model
    from harness.model.files.folder import chat_template
    from harness.model.files.licence import licence

    source = run / CHECKPOINTS / f"step_{step:06d}"
    positions = (
        config.model.dims.max_position_embeddings if config.model.is_ladder and config.model.dims else None
    )
    dims = write_model(source, target, dtype=dtype, max_length=positions)
    base = run.parent.parent / BASES / (record.base_id or "")
    about = Exported(
        record=record,
        config=config,
        step=step,
        last=last,
        dtype=stored_dtype(target),
        parameters=num_parameters(dims),
        base=_base_record(base),
        licence=licence(config.model, base / "model"),
        chat=chat_template(target) is not None,
        measured=measured(run, record, step),
        data_report=data_report(run / "data.json"),
        before=earlier_stages(run, config),
    )
    (target / "README.md").write_text(model_card(about), encoding="utf-8")
    (target / "training_config.yaml").write_text(shared_settings(config), encoding="utf-8")


def _base_record(folder: Path) -> BaseRecord | None:
    """The base's record; None where it is gone. Raises RecordError for a damaged one."""
    return read_base(folder) if (folder / "base.json").exists() else None


def _write_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under another name, sync it, and rename it into place: it is whole or not there."""
    make_folder(folder.absolute().parent)
    temporary = temporary_of(folder.absolute())
    try:
        with naming(folder):
            temporary.mkdir()
            fill(temporary)
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            try:
                os.rename(temporary, folder)  # over an empty folder too, never over a file in it
            except OSError:
                _check_target(folder)  # something was put there meanwhile
                raise
            sync(folder.absolute().parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _said(record: RunRecord, folder: Path, step: int, last: int) -> list[str]:
    """What was written and what to do with it."""
    which = "the last" if step == last else f"of {last}"
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    lines = [f"{record.run_id}: step {step} ({which}) is in {folder}, {size:.1f} MB"]
    if record.status != "finished":
        lines.append(f"the run is {record.status}, not finished; the card says so")
    return [*lines, f"read {folder / 'README.md'}, then: hf upload OWNER/NAME {folder}"]
