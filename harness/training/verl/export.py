"""A checkpoint of verl as a run's own: hub format, the start's configuration and tokenizer, a manifest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from harness.identity import weights_folder
from harness.model.files.export import stored_dtype
from harness.model.files.folder import WEIGHTS, folder_dims, read_settings, weight_files
from harness.model.files.hub import copy_tokenizer
from harness.records.published import publish
from harness.training import checkpoint


def exported(checkpoints: Path, step: int) -> Path:
    """Folder of the hub-format model that verl writes beside its own shards."""
    return checkpoints / f"global_step_{step}" / "actor" / "huggingface"


def export(checkpoints: Path, *, start: Path, folder: Path, step: int) -> None:
    """Publish verl's weights after `step` as the run's checkpoint.

    Raises ValueError where they are missing, or not a model of the start's dimensions.
    """
    source = exported(checkpoints, step)
    if not any((source / name).exists() for name in WEIGHTS):
        raise ValueError(f"{source}: verl left no weights of step {step} there; look at verl/output.log")

    def write(target: Path) -> None:
        for path in {*weight_files(source), *source.glob(WEIGHTS[1])}:
            _link(path, target / path.name)
        config = read_settings(start / "config.json") | {"dtype": stored_dtype(source)}
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        copy_tokenizer(start, target)
        if folder_dims(target) != folder_dims(start):
            raise ValueError(f"{source}: another model than {start}; verl changed its dimensions")

    publish(weights_folder(folder, step), write, identity=checkpoint.identity(folder, step))


def _link(source: Path, target: Path) -> None:
    """A second name of the same file, or a copy where the file system has no links."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
