"""From a data config to problems, pretraining text, and the hashes of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.config import ConfigError, RunConfig
from harness.data import (
    aime24,
    aime25,
    aime_1983_2023,
    aime_gen,
    amc23,
    dapo_17k,
    deepscaler,
    gsm8k,
    hendrycks_math,
    jsonl,
    math500,
)
from harness.data.sources import file_hash
from harness.data_config import DataConfig
from harness.types import Problem

# Each has load(split, *, seed, bad_rows) and SOURCES, the file or hub data set behind each split.
PUBLISHED = {
    "gsm8k": gsm8k,
    "math": hendrycks_math,
    "aime_1983_2023": aime_1983_2023,
    "amc23": amc23,
    "aime24": aime24,
    "aime25": aime25,
    "math500": math500,
    "deepscaler": deepscaler,
    "dapo_17k": dapo_17k,
}


def load_split(data: DataConfig, split: str) -> list[Problem]:
    """The problems of one split, in a fixed order; an empty list where the dataset has none of it."""
    sizes = {
        "train": data.num_train,
        "perturbed": data.num_train,
        "validation": data.num_validation,
        "test": data.num_test,
        "heldout": data.num_heldout,
    }
    size = sizes[split]
    if data.dataset == "aime_gen":
        return list(_generated(data.model_dump_json(), split, size)) if size else []
    if data.dataset == "jsonl":
        assert data.path is not None
        problems = jsonl.load(Path(data.path), split=split, answer_range=data.answer_range)
    else:
        problems = PUBLISHED[data.dataset].load(split, seed=data.data_seed)
    return problems[:size]


def check_data(data: DataConfig) -> None:
    """Raises ConfigError for problems that are missing, malformed or none to train on, or a family that does
    not exist. How many problems a family has is checked when they are made, which takes seconds."""
    try:
        if data.dataset != "aime_gen":
            found = [load_split(data, split) for split in ("train", "validation", "test", "heldout")]
            if not found[0]:
                raise ConfigError(
                    f'data.path={data.path}: no line with "split": "train"; training needs some problems'
                    if data.dataset == "jsonl"
                    else f"data.dataset={data.dataset}: has no training problems; choose another"
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
    """What makes the problems what they are: settings, with the generator's version or the files' content."""
    settings = data.model_dump(exclude_defaults=True, exclude={"name", "path"})
    if data.dataset == "aime_gen":
        # No number and none mean the same there; the second is older.
        settings = {k: v for k, v in settings.items() if not (k.startswith("num_") and v == 0)}
        return {"generator": aime_gen.GENERATOR_VERSION, **settings}
    if data.dataset == "jsonl":
        assert data.path is not None
        kept = {k: v for k, v in settings.items() if k not in ("dataset", "answer_range")}
        return {"sha256": file_hash(Path(data.path)), "symbolic": data.symbolic, **kept}
    sources = dict.fromkeys(PUBLISHED[data.dataset].SOURCES.values())
    content = {name: value for source in sources for name, value in source.fingerprint().items()}
    return {"content": content, **settings}
