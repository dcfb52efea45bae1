"""From a data config to problems, pretraining text, and the hashes of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from harness.data import function, hub
from harness.data.assemble import Report, assemble
from harness.data.programs import check_programs
from harness.data.registry import PUBLISHED, generator, version
from harness.data.sources import Source, file_hash
from harness.data.stages import seeded
from harness.data.worlds import Document, Group, documents, grammar, groups_of
from harness.records.records import GENERATED
from harness.schema.corpus_config import CorpusConfig, LeakConfig
from harness.schema.data_config import SPLITS, DataConfig
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Problem

__all__ = [
    "PUBLISHED",
    "check_corpus",
    "check_data",
    "corpus",
    "corpus_fingerprint",
    "data_fingerprint",
    "data_report",
    "left_out",
    "load_split",
]

# Version of filters, order, perturbation and dose: raise it when the same files give other problems.
READING_VERSION = 1


def load_split(data: DataConfig, split: str) -> list[Problem]:
    """The problems of one split, in a fixed order; an empty list where the dataset has none of it."""
    return list(_assembled(data.model_dump_json(), split, _stamp(data))[0])


def data_report(data: DataConfig) -> dict[str, Any]:
    """For each split that has problems: how many, what was left out and why, by id or file and line."""
    own = data.is_own
    splits = [split for split in SPLITS if own or split != "perturbed"]  # else it leaves out nothing
    found = {split: _assembled(data.model_dump_json(), split, _stamp(data)) for split in splits}
    return {split: report.as_json() for split, (problems, report) in found.items() if problems}


def left_out(data: DataConfig) -> list[str]:
    """One line if training problems were left out for what they are; the ids are in the run's data.json."""
    if data.dataset in GENERATED:
        return []
    _, report = _assembled(data.model_dump_json(), "train", _stamp(data))
    counts = {
        "bad rows": len(report.bad_rows),
        "copies": len(report.duplicates),
        "contaminated problems": len({hit["train_id"] for hit in report.contaminated}),
    }
    said = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    first = f" (the first: {report.bad_rows[0]})" if report.bad_rows else ""
    lines = [f"data={data.name}: left out of training: {said}{first}; named in data.json"] if said else []
    if near := report.twins.get("left_out"):
        lines.append(
            f"data.perturb_draws={data.perturb_draws}: {len(near)} twins are too near a test or validation "
            "problem and left out; named in data.json"
        )
    return lines


@lru_cache(maxsize=32)
def _assembled(data_json: str, split: str, stamp: tuple[Any, ...]) -> tuple[tuple[Problem, ...], Report]:
    problems, report = assemble(DataConfig.model_validate_json(data_json), split)
    return tuple(problems), report


def check_data(data: DataConfig) -> None:
    """Raises ConfigError for problems that are missing, malformed or none to train on, or an unknown family.

    How many problems a family has is checked when they are made, which takes seconds.
    """
    if data.weight is not None:
        raise ConfigError(f"data.weight={data.weight:g}: only a component of a mixture has one; leave it out")
    try:
        if data.dataset in GENERATED:
            _check_families(data)
        else:
            _check_read(data)
    except OSError as error:
        raise ConfigError(f"data.path={data.path}: {error.strerror}; name a JSONL file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"data.path={data.path}: not UTF-8 text; name a JSONL file") from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_read(data: DataConfig) -> None:
    """Raises ValueError unless every split can be read and there is something to train on."""
    own = data.is_own or any(part.is_own for part in data.components.values())
    splits = [split for split in SPLITS if own or split != "perturbed"]  # GSM8K's twins take seconds to make
    found = {split: load_split(data, split) for split in splits}
    check_programs(data, (problem for problems in found.values() for problem in problems))
    if found["train"]:
        return
    if data.num_train == 0:
        raise ConfigError("data.num_train=0: training needs some problems; raise it, or null for all")
    raise ConfigError(
        f'data.path={data.path}: no line with "split": "train"; training needs some problems'
        if data.dataset == "jsonl"
        else f"data.hub_id={data.hub_id}: no training problems; name a split: data.hub_splits.train=..."
        if data.dataset == "hub"
        else f"data={data.name}: has no training problems; choose another"
    )


def _check_families(data: DataConfig) -> None:
    """Raises ValueError unless one problem of the training and of the held-out families can be made."""
    for split in ("train", "heldout"):
        field = "families" if split == "train" else "heldout_families"
        if getattr(data, field) and getattr(data, f"num_{split}"):
            few = {f"num_{split}": 1, "num_distinct": None, "dose": None}
            check_programs(data, assemble(data.model_copy(update=few), split)[0])


def corpus(config: RunConfig, *, num_documents: int, seed: int) -> Iterator[Document]:
    """Pretraining documents: derivations, and of a split's problems only those that leak on purpose.

    A structured corpus (`config.corpus` with settings) is that of harness/data/worlds.py.

    Of a mixture: its generated components in turn by chance, equally often whatever their weights.
    """
    parts = grammar(config.measured_data)
    if isinstance(config.corpus, CorpusConfig):
        groups, leaked = _groups(config, config.corpus), _leaked(config.measured_data, config.corpus.leak)
        return documents(config.corpus, groups, leaked, num_documents=num_documents, seed=seed)
    streams = [
        generator(part.dataset).corpus(
            mix=config.corpus,
            num_documents=num_documents,
            families=_pretrained_on(part),
            levels=part.levels,
            style=part.style,
            seed=seed,
        )
        for part in parts
    ]
    if len(streams) == 1:
        return streams[0]
    rng = Random(seed)
    return (next(rng.choice(streams)) for _ in range(num_documents))


def corpus_fingerprint(config: RunConfig) -> dict[str, Any]:
    """What makes the pretraining text what it is."""
    if isinstance(config.corpus, CorpusConfig):
        return _structured_fingerprint(config, config.corpus)
    found = [
        {
            "generator": version(part.dataset),
            "mix": config.corpus,
            "families": _pretrained_on(part),
            "levels": part.levels,
            "style": part.style,
            "template": config.measured_data.template,
        }
        for part in grammar(config.measured_data)
    ]
    return found[0] if len(found) == 1 else {"parts": found}


def check_corpus(config: RunConfig) -> None:
    """Raises ConfigError where a base would be pretrained on generated problems and none can be made."""
    if config.model.pretrain is None:
        return
    if isinstance(config.corpus, CorpusConfig):
        next(corpus(config, num_documents=1, seed=0))
        return
    if not any(part.families for part in grammar(config.measured_data)):
        raise ConfigError(
            f"data={config.measured_data.name} with model={config.model.name}: that model is pretrained on "
            "generated problems, and these are not; choose a pretrained model, or say what to pretrain on, "
            "such as data.families=[gcd] data.levels=[1] (it then knows nothing of your problems)"
        )
    try:
        next(corpus(config, num_documents=1, seed=0))
    except ValueError as error:
        raise ConfigError(f"data.{error} (what model={config.model.name} is pretrained on)") from None


def _structured_fingerprint(config: RunConfig, corpus: CorpusConfig) -> dict[str, Any]:
    """The families with their levels, whatever names them, and the whole data where some of it leaks."""
    groups = [{"generator": version(group.dataset), **group.as_json()} for group in _groups(config, corpus)]
    found: dict[str, Any] = {"groups": groups, "template": config.measured_data.template}
    if corpus.leak is not None:
        found |= {"leak": corpus.leak.model_dump(), "leak_of": data_fingerprint(config.measured_data)}
    return found


def _pretrained_on(data: DataConfig) -> list[str]:
    return [*data.families, *(data.heldout_families if data.pretrain_heldout else [])]


def _groups(config: RunConfig, corpus: CorpusConfig) -> list[Group]:
    """What the documents are made of. Raises ConfigError for families or levels that do not fit."""
    try:
        return groups_of(corpus, grammar(config.measured_data))
    except ValueError as error:
        raise ConfigError(f"corpus.{error}") from None


def _leaked(data: DataConfig, leak: LeakConfig | None) -> list[Problem]:
    """The problems that leak, chosen by data_seed. Raises ConfigError if there is none."""
    if leak is None:
        return []
    problems = load_split(data, leak.split)
    number = round(len(problems) * leak.percent / 100)
    if not number:
        raise ConfigError(
            f"corpus.leak.percent={leak.percent:g}: no problem of the split {leak.split}, which has "
            f"{len(problems)}; raise it, or choose another split"
        )
    return seeded(problems, data.data_seed)[:number]


def data_fingerprint(data: DataConfig) -> dict[str, Any]:
    """What makes the problems what they are: settings, generators' versions, and the files' content."""
    apart = {"name", "path", "hub_revision", "function", "components", "weight"}
    settings = data.model_dump(exclude_defaults=True, exclude=apart)
    if data.dataset in GENERATED:
        # No number and none mean the same there; the second is older.
        settings = {k: v for k, v in settings.items() if not (k.startswith("num_") and v == 0)}
        found: dict[str, Any] = {"generator": version(data.dataset), **settings}
    elif data.dataset == "jsonl":
        assert data.path is not None
        kept = {k: v for k, v in settings.items() if k not in ("dataset", "answer_range")}
        found = {"sha256": file_hash(Path(data.path)), "symbolic": data.symbolic, **kept}
    elif data.dataset in ("hub", "function"):
        found = {"reading": READING_VERSION, **settings, "content": _own_content(data)}
        if data.function is not None:
            found["function"] = data.function.identity
    else:
        found = {"reading": READING_VERSION, **settings}
        found["parts"] = {
            name: {"weight": part.weight, **data_fingerprint(part)} for name, part in data.components.items()
        }
    if content := {k: v for source in _sources(data) for k, v in source.fingerprint().items()}:
        found["content"] = {**found.get("content", {}), **content}
    return found


def _own_content(data: DataConfig) -> dict[str, str]:
    """The hash of what the hub or the user's function gives."""
    return (hub if data.dataset == "hub" else function).fingerprint(data)


def _sources(data: DataConfig) -> list[Source]:
    """The published files that a config reads, components apart."""
    modules = [PUBLISHED[data.dataset]] if data.dataset in PUBLISHED else []
    modules += [PUBLISHED[name] for name in data.drop_contaminated]
    modules += [PUBLISHED[data.dose.dataset]] if data.dose and data.dose.dataset in PUBLISHED else []
    return list(dict.fromkeys(source for module in modules for source in module.SOURCES.values()))


def _stamp(data: DataConfig) -> tuple[Any, ...]:
    """Changes when a file that is read does."""
    paths = [source.path() for source in _sources(data)]
    if data.dataset == "jsonl" and data.path is not None:
        paths.append(Path(data.path))
    seen = [(str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in paths if p is not None and p.is_file()]
    own = [] if data.function is None else [data.function.frozen().sha256]
    return (*seen, *own, *(_stamp(part) for part in data.components.values()))
