"""Pretrain a ladder model on generated derivations, cached by what determines it."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from harness.bases.base import adopt, write_base
from harness.bases.until import Reached, Stopper, greedy_accuracy
from harness.identity import base_folder, base_id, base_made
from harness.model.dims import ModelDims, flops_per_token
from harness.model.files.folder import WEIGHTS
from harness.model.files.hub import save_pretrained
from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer, save_tokenizer
from harness.model.policy import Policy, init_policy, token_logprobs
from harness.model.rows import pack_rows
from harness.records.locks import hold
from harness.records.progress import Reporter
from harness.records.published import Damaged, publish, remove, require, verify, warn
from harness.records.records import NewerRecord, RecordError, read_base
from harness.schema.run_config import RunConfig
from harness.seeds import derive, stream_seed
from harness.training import checkpoint
from harness.training.accounting import Clock
from harness.training.corpus import Document, encode_corpus, pad
from harness.training.optim import adamw, guarded_step, lr_at

MAX_MICROBATCH_TOKENS = 16_384


def ensure_base(config: RunConfig, report: Reporter) -> Path:
    """Return the folder of the config's base, made now if it is absent or damaged (with a warning).

    Waits for another process that makes it.
    """
    folder = base_folder(config)
    if _damage(config) is None:
        return folder
    with hold(folder, wait=True):
        if (damage := _damage(config)) is None:
            return folder
        if damage:
            warn(f"{damage}; the base is made anew")
        _drop_damaged(folder)
        (pretrain if config.model.is_ladder else adopt)(config, folder, report)
    return folder


def _damage(config: RunConfig) -> str | None:
    """What is wrong with a base: None if it is whole, "" if there is none yet."""
    folder = base_folder(config)
    try:
        read_base(folder)
    except NewerRecord:
        pass
    except RecordError as error:
        return error.what if (folder / "base.json").exists() else ""
    if not base_made(config):
        return ""
    try:
        if not (folder / "model").is_symlink():  # a link's files are the user's: base_id has their content
            verify(folder / "model", {"owner": folder.name})
    except Damaged as error:
        return error.what
    return None


def _drop_damaged(folder: Path) -> None:
    """Remove a model that is not whole, or has no weights; a link's target is the user's."""
    model = folder / "model"
    if model.is_symlink():
        return
    try:
        require(model, {"owner": folder.name})
        whole = any((model / name).exists() for name in WEIGHTS)
    except Damaged:
        whole = False
    if not whole:
        remove(model)


def pretrain(config: RunConfig, folder: Path, report: Reporter) -> None:
    """Train from scratch on the corpus; the loss is on completions alone, a mean over each batch's tokens."""
    torch.set_num_threads(config.threads)
    clock = Clock()
    shape, settings = config.model.ladder()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "model.pretrain.device=cuda: no GPU is visible to PyTorch; set model.pretrain.device=cpu"
        )
    size = build_ladder_tokenizer().get_vocab_size()
    dims = ModelDims(**{**shape.model_dump(), "vocab_size": size})
    root = stream_seed("base", seed=config.seed, base_seed=config.base_seed, replicate=0)
    policy = init_policy(dims, derive(root, "weights")).to(settings.device)
    made = _train(config, folder, report, policy, corpus_seed=derive(root, "corpus"))
    _publish(folder, policy)
    flops = made.num_tokens * flops_per_token(dims, made.num_tokens // made.num_documents)
    write_base(
        config,
        folder,
        dims,
        tokens=made.num_tokens,
        flops=flops,
        seconds=made.seconds,
        waited=made.seconds * clock.waited / clock.seconds,
        final_loss=made.reached.loss,
        steps=made.reached.steps,
        accuracy=None if settings.until is None else made.reached.accuracy,
    )


@dataclass
class _Made:
    """What pretraining came to; tokens and documents of every step taken, seconds of all sessions."""

    reached: Reached
    num_tokens: int
    num_documents: int
    seconds: float


def _train(config: RunConfig, folder: Path, report: Reporter, policy: Policy, *, corpus_seed: int) -> _Made:
    """Take all steps, or those until an accuracy, from a saved state if there is one."""
    started = time.perf_counter()
    _, settings = config.model.ladder()
    optimizer = adamw(policy, lr=settings.lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=settings.weight_decay)
    state = checkpoint.load_resume(folder, policy=policy, optimizer=optimizer) or {"step": 0, "seconds": 0.0}
    done, counts = int(state["step"]), Counter[str]()
    documents = encode_corpus(config, num_documents=settings.steps * settings.batch_size, seed=corpus_seed)
    batches = ([next(documents) for _ in range(settings.batch_size)] for _ in range(settings.steps))
    for batch in islice(batches, done):
        counts.update(_sizes(batch))
    save_every = max(50, settings.steps // 5)
    last_saved = done

    def take(step: int, batch: list[Document]) -> float:
        counts.update(_sizes(batch))
        loss = _step(config, policy, optimizer, step, batch)
        if step % 20 == 0 or step == settings.steps - 1:
            report("pretraining " + base_id(config), step + 1, settings.steps, f"loss {loss:.3f}")
        return loss

    def save(step: int) -> None:
        nonlocal last_saved
        if step - last_saved >= save_every and step < settings.steps:
            seconds = state["seconds"] + time.perf_counter() - started
            checkpoint.save_resume(
                folder, step=step, policy=policy, optimizer=optimizer, trainer={"seconds": seconds}
            )
            last_saved = step

    if settings.until is None:
        reached = Reached(settings.steps, float("nan"), float("nan"))
        for step, batch in enumerate(batches, done):
            reached = Reached(step + 1, take(step, batch), float("nan"))
            save(step + 1)
    else:
        measure = partial(greedy_accuracy, config, policy)
        reached = Stopper(settings, policy, optimizer, take, measure, save).run(batches, done)
    seconds = state["seconds"] + time.perf_counter() - started
    return _Made(reached, counts["tokens"], counts["documents"], seconds)


def _sizes(batch: list[Document]) -> dict[str, int]:
    return {"tokens": sum(len(ids) for ids, _ in batch), "documents": len(batch)}


def _step(
    config: RunConfig, policy: Policy, optimizer: torch.optim.Optimizer, step: int, batch: list[Document]
) -> float:
    """Take one optimiser step; returns the loss before it, nats a token."""
    _, settings = config.model.ladder()
    loss = _accumulate(policy, batch)
    if not math.isfinite(loss):
        raise RuntimeError(
            f"pretraining {base_id(config)}: the loss is {loss} at step {step}; lower model.pretrain.lr"
        )
    lr = lr_at(
        step,
        peak=settings.lr,
        total=settings.steps,
        warmup=settings.warmup_steps,
        schedule="cosine" if settings.until is None else "constant",
    )
    guarded_step(optimizer, list(policy.parameters()), lr=lr, max_grad_norm=settings.max_grad_norm)
    return loss


def _accumulate(policy: Policy, batch: list[Document]) -> float:
    """Add the gradient of the mean loss over the batch's completion tokens; returns that mean, nats."""
    batch = sorted(batch, key=lambda document: -len(document[0]))
    total = sum(len(ids) - num_prompt for ids, num_prompt in batch)
    size = max(1, MAX_MICROBATCH_TOKENS // len(batch[0][0]))
    value = 0.0
    for start in range(0, len(batch), size):
        input_ids, lengths, mask = pad(batch[start : start + size])
        rows = pack_rows(input_ids, lengths, mask, device=policy.head_weight.device)
        logprobs, _ = token_logprobs(policy, rows, temperature=1.0)
        loss = -logprobs.sum() / total
        loss.backward()
        value += float(loss.detach())
    return value


def _publish(folder: Path, policy: Policy) -> None:
    """Write weights and tokenizer in the hub's format, and drop what resuming needed."""

    def write(target: Path) -> None:
        save_pretrained(policy, target, eos_token_ids=(EOS_ID,))
        save_tokenizer(target)

    publish(folder / "model", write, identity={"owner": folder.name})
    checkpoint.drop_resume(folder)
