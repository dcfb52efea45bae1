"""Names of bases, runs and evaluation protocols: hashes of what makes them. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.data.documents import SAMPLE_SEED, benchmark_data
from harness.data.load import corpus_fingerprint, data_fingerprint
from harness.data.sources import file_hash
from harness.model.files.folder import WEIGHTS
from harness.model.files.source import content
from harness.model.files.teacher_files import teacher_fingerprint
from harness.model.files.tokenizer import TOKENIZER_VERSION
from harness.records.published import CHECKPOINTS
from harness.records.records import BASES, NewerRecord, RecordError, read_base, read_run
from harness.schema.corpus_config import corpus_name
from harness.schema.eval_config import BenchmarkConfig, LmEvalConfig
from harness.schema.prompts import CHAT
from harness.schema.run_config import RunConfig
from harness.schema.search_config import EvalSearchConfig
from harness.seeds import all_streams

# Settings that change no result: what is kept for a reader, paths, memory, patience and machines.
_APART = {
    *("keep", "checkpoint_every", "path", "max_sampler_kl", "release"),
    *("rank_timeout", "cache_memory", "verl"),
}


def digest(value: Any, length: int = 8) -> str:
    """SHA-256 of canonical JSON, shortened."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def base_identity(config: RunConfig) -> dict[str, Any]:
    """Everything that decides a base's weights; of a pretrained base its files' content."""
    if not config.model.is_ladder:
        return {"content": content(config.model)}
    dims, pretrain = config.model.ladder()
    stops_by = {} if pretrain.until is None else {"until_of": _stopped_by(config)}
    return {
        **stops_by,
        "dims": dims.model_dump(exclude_defaults=True),
        "pretrain": pretrain.model_dump(exclude_defaults=True),
        "corpus": corpus_fingerprint(config),
        "tokenizer": TOKENIZER_VERSION,
        "base_seed": config.base_seed,
        "threads": config.threads,
    }


def _stopped_by(config: RunConfig) -> dict[str, Any]:
    """What decides when pretraining until an accuracy stops, beside its settings."""
    return {"data": data_fingerprint(config.measured_data), "max_new_tokens": config.eval.max_new_tokens}


def base_id(config: RunConfig) -> str:
    made = f"-{corpus_name(config.corpus)}-b{config.base_seed}" if config.model.is_ladder else ""
    return f"{config.model.name}{made}-{digest(base_identity(config))}"


def run_identity(config: RunConfig) -> dict[str, Any]:
    """Everything that decides a run's result; not paths, tracking, launcher and evaluation."""
    sections = {
        name: getattr(config, name).model_dump(
            exclude_defaults=True,
            exclude=_APART | ({"processes"} if config.trainer.processes == 1 else set()),
        )
        for name in ("objective", "rollout", "trainer")
    }
    for slot in ("reward", "advantage", "loss"):
        if (own := getattr(config.objective, slot).custom) is not None:
            sections["objective"][slot]["custom"] = own.identity
    if (teacher := config.objective.teacher) is not None:
        made = teacher_base(config)
        named = config.taught_by if made is None else base_id(made)
        sections["objective"]["teacher"] = named or teacher_fingerprint(teacher.path or "")
    kept_text = config.model.kept_text  # the run measures its side effects on it
    return {
        **sections,
        **({} if kept_text is None else {"kept_text": file_hash(Path(kept_text))}),
        **({} if config.start is None else {"start": config.start}),  # whose name covers what it came from
        "base": base_id(config),
        "data": data_fingerprint(config.data),
        "seed": config.seed,
        "replicate": config.replicate,
        "threads": config.threads,
        "dtype": config.dtype,
    }


def run_id(config: RunConfig) -> str:
    """`<objective>-<model>-s<seed>-<hash>`: the same run has the same name in any study, on any day."""
    replicate = f"r{config.replicate}" if config.replicate else ""
    arm = f"{config.objective.name}-{config.model.name}"
    return f"{arm}-s{config.seed}{replicate}-{digest(run_identity(config))}"


def streams_of(config: RunConfig) -> dict[str, int]:
    """The seed of each of a run's named streams."""
    return all_streams(
        seed=config.seed,
        base_seed=config.base_seed,
        replicate=config.replicate,
        stages_before=config.num_stages_before,
    )


def eval_key(config: RunConfig) -> str:
    """Names an evaluation protocol: settings, problems and sampling stream, not the checkpoint.

    How a reward model is trained belongs to it where `eval.rerank` uses that model, and so does an engine
    other than the native one: it draws other samples from the same seeds.
    """
    apart = {"splits", "at_steps", "rerank", "outcome_model", "process_model", "benchmarks", "base_templates"}
    apart |= {"temperatures", "top_ps", "lm_eval", "search"}
    settings = config.eval.model_dump(exclude_defaults=True, exclude=apart)
    if config.eval.rerank:
        whole = config.eval.model_dump()
        settings["rerank"] = {kind: whole[f"{kind}_model"] for kind in config.eval.rerank}
    identity = {
        **settings,
        "data": data_fingerprint(config.measured_data),
        "dtype": config.dtype,
        "threads": config.threads,
    }
    identity |= _engine(config)
    return digest({**identity, "seed": config.seed, "replicate": config.replicate})


def sampling_keys(config: RunConfig) -> dict[tuple[float, float], str]:
    """(temperature, top_p) of each further sampling -> its key: that of a run with it as its main protocol,
    without greedy decoding and reward models, which are measured once."""
    plain = {"greedy": False, "rerank": []}
    found = {}
    for temperature, top_p in config.eval.samplings:
        own = config.eval.model_copy(update={**plain, "temperature": temperature, "top_p": top_p})
        found[temperature, top_p] = eval_key(config.model_copy(update={"eval": own}))
    return found


def _engine(config: RunConfig) -> dict[str, Any]:
    """The engine and its options, if it is not the native one: the same seeds give other samples."""
    if config.rollout.engine == "native":
        return {}
    return {"engine": [config.rollout.engine, config.rollout.vllm.model_dump(exclude_defaults=True)]}


def benchmark_key(config: RunConfig, benchmark: BenchmarkConfig) -> str:
    """Names the protocol of one of `eval.benchmarks`, whatever the training data and its protocol."""
    identity = {
        **benchmark.model_dump(include={"split", "k", "temperature", "top_p", "max_new_tokens", "greedy"}),
        "data": data_fingerprint(benchmark_data(benchmark, config.measured_data.template)),
        "dtype": config.dtype,
        "threads": config.threads,
    } | _engine(config)
    if benchmark.limit is not None:
        identity["sample"] = [benchmark.limit, SAMPLE_SEED]
    return digest({**identity, "seed": config.seed, "replicate": config.replicate})


def search_key(config: RunConfig, asked: EvalSearchConfig) -> str:
    """Names the protocol of one of `eval.search`: its settings, the sampling's, its model's training."""
    identity = {
        **asked.model_dump(exclude={"name", "splits"}),
        **config.eval.model_dump(include={"temperature", "top_p", "max_new_tokens", "max_train_problems"}),
        "data": data_fingerprint(config.measured_data),
        "dtype": config.dtype,
        "threads": config.threads,
    } | _engine(config)
    if asked.learned:
        identity["model"] = [config.eval.k, config.eval.model_dump()[f"{asked.value}_model"]]
    return digest({**identity, "seed": config.seed, "replicate": config.replicate})


def lm_eval_key(config: RunConfig, asked: LmEvalConfig) -> str:
    """Names the protocol of one of `eval.lm_eval`; no seed is in it, since lm-eval's own never change."""
    own = Path(asked.include_path) if asked.include_path else None
    files = {} if own is None else {p.name: file_hash(p) for p in sorted(own.rglob("*.yaml"))}
    identity = {
        **asked.model_dump(exclude={"include_path"}),
        "files": files,
        "chat": config.measured_data.template in CHAT,
        "dtype": config.dtype,
        "threads": config.threads,
    }
    return digest(identity)


def run_folder(config: RunConfig) -> Path:
    return Path(config.output_dir) / config.study / run_id(config)


def weights_folder(folder: Path, step: int) -> Path:
    """Folder of a run's weights after a step."""
    return folder / CHECKPOINTS / f"step_{step:06d}"


def start_folder(config: RunConfig) -> Path | None:
    """Folder of the stage before, of the same study; None for a run that begins from its base."""
    return None if config.start is None else run_folder(config).with_name(config.start)


def teacher_stage(config: RunConfig) -> Path | None:
    """Folder of the stage that trains the teacher, of the same study; None where no stage does."""
    return None if config.taught_by is None else run_folder(config).with_name(config.taught_by)


def base_folder(config: RunConfig) -> Path:
    return Path(config.output_dir) / BASES / base_id(config)


def base_made(config: RunConfig) -> bool:
    """Whether the base is complete. Its weights may have been removed, or moved from behind their link."""
    folder = base_folder(config)
    try:
        read_base(folder)
    except NewerRecord:
        pass
    except RecordError:
        return False
    return any((folder / "model" / name).exists() for name in WEIGHTS)


def teacher_base(config: RunConfig) -> RunConfig | None:
    """The config whose base is the run's teacher; None where there is none, or it is a folder or a stage."""
    teacher = config.objective.teacher
    if teacher is None or teacher.path is not None or teacher.stage is not None:
        return None
    model = teacher.model or config.model
    if model.pretrain is not None:
        own = config.model.pretrain or model.pretrain
        changed = {"device": own.device, "steps": teacher.pretrain_steps or model.pretrain.steps}
        model = model.model_copy(update={"pretrain": model.pretrain.model_copy(update=changed)})
    return config.model_copy(update={"model": model})


def bases_of(config: RunConfig) -> list[RunConfig]:
    """The configs of every base that a run needs: its own, and a teacher that is one."""
    teacher = teacher_base(config)
    return [config] if teacher is None else [config, teacher]


def teacher_folder(config: RunConfig) -> Path:
    """Folder of the teacher's model, which exists once its base is made, or the stage that trains it is done.

    Raises RecordError for a stage without a record.
    """
    made, teacher = teacher_base(config), config.objective.teacher
    if made is not None:
        return base_folder(made) / "model"
    if (stage := teacher_stage(config)) is not None:
        return weights_folder(stage, read_run(stage).steps_done)
    assert teacher is not None and teacher.path is not None
    return Path(teacher.path)
