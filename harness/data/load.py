"""From a data config to problems, pretraining text, and the hashes of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.config import ConfigError, RunConfig
from harness.data import aime_gen, jsonl
from harness.data_config import DataConfig
from harness.types import Problem


def load_split(data: DataConfig, split: str) -> list[Problem]:
    """The problems of one split, in a fixed order; an empty list where the dataset has none of it."""
    if data.dataset == "jsonl":
        assert data.path is not None
        return jsonl.load(Path(data.path), split=split, answer_range=data.answer_range)
    sizes = {
        "train": data.num_train,
        "perturbed": data.num_train,
        "validation": data.num_validation,
        "test": data.num_test,
        "heldout": data.num_heldout,
    }
    if not sizes[split]:
        return []
    return list(_generated(data.model_dump_json(), split, sizes[split]))


def check_data(data: DataConfig) -> None:
    """Raises ConfigError for a file that is missing, malformed or without training problems, or a family that
    does not exist. How many problems a family has is checked when they are made, which takes seconds."""
    try:
        if data.dataset == "jsonl":
            found = [load_split(data, split) for split in ("train", "validation", "test", "heldout")]
            if not found[0]:
                raise ConfigError(
                    f'data.path={data.path}: no line with "split": "train"; training needs some problems'
                )
            return
        for split in ("train", "heldout"):
            field = "families" if split == "train" else "heldout_families"
            if getattr(data, field) and getattr(data, f"num_{split}"):
                load_split(data.model_copy(update={f"num_{split}": 1}), split)
    except OSError as error:
        raise ConfigError(f"data.path={data.path}: {error.strerror}; name a JSONL file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"data.path={data.path}: not UTF-8 text; name a JSONL file") from None
    except ConfigError:
        raise
    except ValueError as error:
        text = str(error)
        raise ConfigError(text if text.startswith("data.") else f"data.{text}") from None


@lru_cache(maxsize=32)
def _generated(data_json: str, split: str, num_problems: int) -> tuple[Problem, ...]:
    data = DataConfig.model_validate_json(data_json)
    families = data.heldout_families if split == "heldout" else data.families
    return tuple(
        aime_gen.load(
            split,
            num_problems=num_problems,
            families=families,
            levels=data.levels,
            style=data.style,
            seed=data.data_seed,
        )
    )


def corpus(config: RunConfig, *, num_documents: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pretraining documents (prompt text, completion text): derivations, never of a split's problems."""
    data = config.data
    return aime_gen.corpus(
        mix=config.corpus,
        num_documents=num_documents,
        families=data.families,
        levels=data.levels,
        style=data.style,
        seed=seed,
    )


def corpus_fingerprint(config: RunConfig) -> dict[str, Any]:
    """What makes the pretraining text what it is."""
    data = config.data
    return {
        "generator": aime_gen.GENERATOR_VERSION,
        "mix": config.corpus,
        "families": data.families,
        "levels": data.levels,
        "style": data.style,
        "template": data.template,
    }


def data_fingerprint(data: DataConfig) -> dict[str, Any]:
    """What makes the problems what they are: the generator's version and settings, or the file's content."""
    if data.dataset == "jsonl":
        assert data.path is not None
        content = hashlib.sha256(Path(data.path).read_bytes()).hexdigest()
        grading = {"answer_rules": data.answer_rules, "symbolic": data.symbolic}
        return {"sha256": content, "template": data.template, **grading}
    return {
        "generator": aime_gen.GENERATOR_VERSION,
        **data.model_dump(exclude_defaults=True, exclude={"name"}),
    }
