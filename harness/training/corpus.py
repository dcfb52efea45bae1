"""Documents of a pretraining corpus as padded batches of tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from harness.data.load import corpus
from harness.model.files.tokenizer import EOS_ID, build_ladder_tokenizer
from harness.schema.prompts import render
from harness.schema.run_config import RunConfig

Document = tuple[list[int], int]  # token ids, and how many of the first ones are given and not learned


def encode_corpus(config: RunConfig, *, num_documents: int, seed: int) -> Iterator[Document]:
    """Encode documents under the config's template, each closed by the end token.

    A document without a completion is a problem's own text, all of which is learned after its first token.
    """
    tokenizer = build_ladder_tokenizer()
    for prompt, completion in corpus(config, num_documents=num_documents, seed=seed):
        head = tokenizer.encode(render(prompt, config.measured_data.template)).ids
        if completion is None:
            yield [*head, EOS_ID], 1
        else:
            yield [*head, *tokenizer.encode(completion).ids, EOS_ID], len(head)


def pad(documents: list[Document]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad documents to (input_ids [B, T], lengths [B], completion_mask [B, T])."""
    lengths = torch.tensor([len(ids) for ids, _ in documents])
    input_ids = torch.zeros(len(documents), int(lengths.max()), dtype=torch.long)
    mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, (ids, num_prompt) in enumerate(documents):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, num_prompt : len(ids)] = True
    return input_ids, lengths, mask
