"""Adopt bases that were pretrained elsewhere, and write the record of any base."""

from __future__ import annotations

import time
from pathlib import Path

from harness.identity import base_id, base_identity
from harness.model.dims import ModelDims, num_non_embedding_parameters, num_parameters
from harness.model.files.folder import folder_dims
from harness.model.files.gguf import dequantise
from harness.model.files.source import fetch, gguf_file, kind_of
from harness.model.preflight import check_fits
from harness.records.code_state import code_state
from harness.records.progress import Reporter
from harness.records.published import publish, remove
from harness.records.records import BaseRecord, write_record
from harness.schema.run_config import RunConfig


def adopt(config: RunConfig, folder: Path, report: Reporter) -> None:
    """Make <base>/model: a link to a hub or folder model's files, or a GGUF file's conversion, once."""
    model, started, target = config.model, time.perf_counter(), folder / "model"
    report("fetching " + base_id(config), 0, 1, model.hub_id or model.path or "")
    if kind_of(model) == "gguf":
        publish(target, lambda made: dequantise(gguf_file(model), made), identity={"owner": folder.name})
    else:
        remove(target)  # a link to where the model was
        target.symlink_to(fetch(model).absolute(), target_is_directory=True)
    if model.dims is None and config.trainer.engine == "native":  # its size was not known before the download
        check_fits(config)
    write_base(config, folder, folder_dims(target), seconds=time.perf_counter() - started)


def write_base(
    config: RunConfig,
    folder: Path,
    dims: ModelDims,
    *,
    seconds: float,
    waited: float = 0.0,
    tokens: int = 0,
    flops: float = 0.0,
    final_loss: float = float("nan"),
    steps: int | None = None,
    accuracy: float | None = None,
) -> None:
    """Write base.json, whose presence marks a complete base; tokens, FLOPs and loss are those spent here."""
    record = BaseRecord(
        base_id=base_id(config),
        identity=base_identity(config),
        num_parameters=num_parameters(dims),
        num_non_embedding_parameters=num_non_embedding_parameters(dims),
        tokens=tokens,
        flops=flops,
        seconds=seconds,
        waited_seconds=waited,
        final_loss=final_loss,
        steps=steps,
        accuracy=accuracy,
        code=code_state(),
    )
    write_record(folder / "base.json", record)
