"""Retention: how much of the base a policy has kept, by the loss on text like the base's and the KL to it.

The text: for a ladder model, documents drawn anew from what its base was pretrained on; for a pretrained one
the file `model.kept_text`, or, by default, text that the base itself wrote at temperature 1 after its first
token, end tokens included. On its own text a base's loss is its entropy: then the measure is how much of the
base's own distribution is kept, not how well the model predicts anyone's language.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from harness.identity import digest
from harness.model.chunks import RETENTION_CHUNK_ELEMENTS
from harness.model.files.codec import Codec
from harness.model.policy import Policy, states_before
from harness.model.rows import pack_rows
from harness.records.published import Damaged, reading, remove, unseal, warn
from harness.records.records import write_json
from harness.rollout.native import NativeEngine
from harness.schema.run_config import RunConfig
from harness.seeds import derive, stream_seed
from harness.training.corpus import Document, encode_corpus, pad
from harness.training.distributed import all_reduce_sum, broadcast_from_rank0, rank, stride, world_size
from harness.training.parallel import reshard
from harness.types import Prompt, SamplingParams

NUM_DOCUMENTS = 128
NUM_PASSAGES, PASSAGE_TOKENS = 16, 128  # for a pretrained model
ROWS = 32
NAMES = ("kept_loss", "kept_kl_forward", "kept_kl_reverse")


class Retention:
    """Measures policies on fixed documents, the same for every arm on a base.

    `kept_loss`: mean negative log-likelihood of their completion tokens, nats. `kept_kl_forward` is
    KL(base || policy) and `kept_kl_reverse` KL(policy || base), exact over the vocabulary, means over the
    same positions, nats.
    """

    def __init__(self, config: RunConfig, base: Policy, codec: Codec, folder: Path) -> None:
        self.base = base
        seed = derive(stream_seed("base", seed=config.seed, base_seed=config.base_seed, replicate=0), "kept")
        if config.model.is_ladder:
            documents = list(encode_corpus(config, num_documents=NUM_DOCUMENTS, seed=seed))
        elif config.model.kept_text is not None:
            documents = passages(Path(config.model.kept_text), codec)
        else:
            found = own_text(config, base, codec, folder, seed) if rank() == 0 else None
            documents = broadcast_from_rank0(found)
        self.parts = _parts(documents)
        self.num_idle = _num_parts(len(documents)) - len(self.parts)

    @torch.no_grad()
    def measure(self, policy: Policy) -> dict[str, float]:
        """`kept_loss`, `kept_kl_forward` and `kept_kl_reverse` of a policy."""
        chunk = max(1, RETENTION_CHUNK_ELEMENTS // policy.dims.vocab_size)
        sums = [0.0] * 4  # loss, forward, reverse, tokens
        for input_ids, lengths, mask in self.parts:
            states, targets = _states(policy, input_ids, lengths, mask)  # [M, D], [M]
            base_states, _ = _states(self.base, input_ids, lengths, mask)
            for at in range(0, len(targets), chunk):
                piece = slice(at, at + chunk)
                ours = _log_softmax(policy, states[piece])  # [m, V]
                base = _log_softmax(self.base, base_states[piece])
                sums[0] -= float(ours.gather(1, targets[piece, None]).sum())
                sums[1] += float((base.exp() * (base - ours)).sum())
                sums[2] += float((ours.exp() * (ours - base)).sum())
            sums[3] += len(targets)
        for _ in range(self.num_idle):  # a base in shards is gathered by all processes, pass for pass
            _states(self.base, *pad([([0, 0], 1)]))
        reshard(self.base)
        whole = all_reduce_sum(torch.tensor(sums, dtype=torch.float64), policy.head_weight.device)
        *sums, num_tokens = whole.tolist()
        return {name: x / num_tokens for name, x in zip(NAMES, sums, strict=True)}


def _parts(documents: list[Document]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """This process's share of the documents, as padded rows."""
    own = list(stride(documents))
    return [pad(own[i : i + ROWS]) for i in range(0, len(own), ROWS)]


def _num_parts(num_documents: int) -> int:
    """Parts of the process that has most."""
    return math.ceil(math.ceil(num_documents / world_size()) / ROWS)


def _states(
    policy: Policy, input_ids: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The state before every completion position, [M, D], and the token there, [M]."""
    rows = pack_rows(input_ids, lengths, mask, device=policy.head_weight.device)
    return states_before(policy, rows), rows.targets


def _log_softmax(policy: Policy, states: torch.Tensor) -> torch.Tensor:
    """log p(. | prefix), float32 [m, V]."""
    return F.linear(states, policy.head_weight).float().log_softmax(-1)


def passages(path: Path, codec: Codec) -> list[Document]:
    """Passages spread evenly over a text file. Raises ValueError for a file that holds no two tokens."""
    tokens = codec.encode(path.read_text(encoding="utf-8"))
    if len(tokens) < 2:
        raise ValueError(f"model.kept_text={path}: {len(tokens)} tokens; name a longer text")
    count = max(1, min(NUM_PASSAGES, len(tokens) // PASSAGE_TOKENS))
    starts = [i * (len(tokens) // count) for i in range(count)]
    head = codec.bos
    return [([*head, *tokens[at : at + PASSAGE_TOKENS]], max(1, len(head))) for at in starts]


def own_text(config: RunConfig, base: Policy, codec: Codec, folder: Path, seed: int) -> list[Document]:
    """Text that the base wrote, sampled once for all runs on it and stored under <base>/kept/."""
    start = codec.eos_token_ids[0] if codec.bos_token_id is None else codec.bos_token_id
    asked = [start, NUM_PASSAGES, PASSAGE_TOKENS, seed, config.dtype, config.threads]
    path = folder / "kept" / f"own-{digest(asked)}.json"
    if (found := _stored(path)) is None:
        engine = NativeEngine(base, eos_token_ids=(), decode=codec.decode, max_batch_size=NUM_PASSAGES)
        rollouts = engine.generate(
            [Prompt(f"kept-{i}", "", "", (start,)) for i in range(NUM_PASSAGES)],
            params=SamplingParams(max_new_tokens=PASSAGE_TOKENS),
            seeds=[derive(seed, i) for i in range(NUM_PASSAGES)],
        )
        found = [list(r.completion_ids) for r in rollouts]
        write_json(path, {"documents": found})
    return [([start, *ids], 1) for ids in found]


def _stored(path: Path) -> list[list[int]] | None:
    """Read the documents of a file; None if it is absent or, with a warning, damaged."""
    if not path.exists():
        return None
    try:
        with reading(path):
            stored = json.loads(unseal(path))
            documents = stored["documents"] if isinstance(stored, dict) else stored  # a list before
            if not documents or not all(isinstance(i, int) for ids in documents for i in ids):
                raise ValueError("no documents")
            return [list(ids) for ids in documents]
    except Damaged as error:
        warn(f"{error.what}; it is sampled anew")
        remove(path)
        return None
