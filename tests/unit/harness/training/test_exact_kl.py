"""The KL over the vocabulary: against whole distributions, and as a penalty."""

from __future__ import annotations

import pytest
import torch

from harness.model.rows import pack_rows
from harness.training.advantages import build_batch
from harness.training.exact_kl import exact_kl
from tests.unit.harness.tiny import configure
from tests.unit.harness.training.one_step import EQUAL, ONE_STEP, close, gradient, policy, stepped


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_exact_kl_is_the_sum_over_the_vocabulary(temperature: float) -> None:
    model, reference = policy(), policy(5)
    ids = torch.tensor([[7, 3, 4, 1, 9], [7, 3, 5, 0, 0]])
    lengths, mask = torch.tensor([5, 3]), torch.tensor([[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]]).bool()
    found = exact_kl(model, reference, pack_rows(ids, lengths, mask), temperature=temperature)
    rows = []
    for row, end in ((0, 5), (1, 3)):
        logs = [
            (
                m.hidden(pack_rows(ids[row : row + 1, :end], torch.tensor([end])))
                @ m.head_weight.T
                / temperature
            ).log_softmax(-1)[1:-1]
            for m in (model, reference)
        ]
        rows.append((logs[0].exp() * (logs[0] - logs[1].detach())).sum(-1))
    assert torch.allclose(found[mask], torch.cat(rows), rtol=1e-4, atol=1e-6)
    assert not found[~mask].any() and float(found.detach().sum()) > 0.1
    close(gradient(found.sum(), model), gradient(torch.cat(rows).sum(), model))


def test_the_exact_kl_as_a_penalty() -> None:
    # No advantage: coef/3 sum_i 1/|o_i| sum_t KL_t, whatever token was sampled.
    reference = policy(5)
    lines = ("objective.kl.coef=0.5", "objective.kl.estimator=exact", *ONE_STEP)
    found, _ = stepped(configure(*lines), [EQUAL], reference=reference)
    model, batch = policy(), build_batch([EQUAL], configure().objective)
    rows = pack_rows(batch.input_ids, batch.lengths, batch.completion_mask)
    per_token = exact_kl(model, reference, rows, temperature=1.0)
    loss = 0.5 * (per_token.sum(-1) / batch.completion_mask.sum(-1)).mean()
    close(found, gradient(loss, model))
