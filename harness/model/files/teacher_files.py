"""Check a teacher's folder without loading it: completeness, vocabulary, and a fingerprint of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.model.dims import ModelDims
from harness.model.files.folder import folder_dims, identifying_files
from harness.model.files.source import check_folder, kind_of, local_folder, sha256_of, shape
from harness.schema.model_config import ModelConfig
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.run_config import ConfigError


def check_teacher(objective: ObjectiveConfig, model: ModelConfig) -> None:
    """Raises ConfigError, one line, for a folder that is no model, or whose vocabulary cannot be compared."""
    if (teacher := objective.teacher) is None:
        return
    if teacher.path is None:
        if objective.kl.reference == "teacher" and (teacher.model or model).is_ladder != model.is_ladder:
            raise ConfigError(
                f"objective.teacher={teacher.named}: its vocabulary is not the student's, so their "
                "distributions over tokens cannot be compared; use objective=distill"
            )
        return
    folder = Path(teacher.path)
    said = f"objective.teacher.path={teacher.path}"
    check_folder(folder, said, trusted=True)
    student = _student(model)
    if objective.kl.reference == "teacher" and student is not None and not same_vocabulary(folder, *student):
        raise ConfigError(
            f"{said}: its vocabulary is not the student's, so their distributions over tokens cannot be "
            "compared; use a teacher with the student's tokenizer, or objective=distill"
        )


def teacher_dims(objective: ObjectiveConfig, model: ModelConfig, *, vocab_size: int) -> ModelDims | None:
    """Shape of a run's teacher; None without one, or where its files are not at hand.

    `vocab_size` is taken for a model from scratch, whose tokenizer is not read.
    """
    if (teacher := objective.teacher) is None:
        return None
    try:
        if teacher.path is not None:
            return folder_dims(Path(teacher.path))
        return shape(teacher.model or model, vocab_size=vocab_size)
    except (OSError, ValueError):  # the checks of the teacher say what is wrong
        return None


def same_vocabulary(folder: Path, ours: dict[str, int], size: int) -> bool:
    """Whether a token id means the same to the teacher in a folder and to a student; `size` is its head's."""
    from harness.model.files.codec import read_tokenizer

    return read_tokenizer(folder).get_vocab() == ours and folder_dims(folder).vocab_size == size


def _student(model: ModelConfig) -> tuple[dict[str, int], int] | None:
    """The student's vocabulary and head size; None where its files are not at hand yet."""
    from harness.model.files.codec import read_tokenizer
    from harness.model.files.tokenizer import build_ladder_tokenizer

    if model.is_ladder:
        ladder = build_ladder_tokenizer().get_vocab()
        return ladder, len(ladder)
    folder = local_folder(model) if kind_of(model) in ("hub", "folder") else None
    dims = shape(model)
    if folder is None or dims is None:
        return None
    return read_tokenizer(folder).get_vocab(), dims.vocab_size


def teacher_fingerprint(path: str) -> str:
    """SHA-256 of the folder's configuration, tokenizer and weights."""
    files = identifying_files(Path(path), _CONTENT)
    parts = [f"{name}\x1f{sha256_of(path)}" for name, path in files.items()]
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()


_CONTENT = ("config.json", "tokenizer.json")
