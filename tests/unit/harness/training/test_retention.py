"""KL to the base is the sum over the vocabulary at every completion position; 0 at the base itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harness.model.files.codec import Codec
from harness.model.files.hub import load_pretrained
from harness.model.policy import Policy, init_policy
from harness.model.rows import pack_rows
from harness.training.corpus import pad
from harness.training.retention import Retention, own_text
from tests.damage import DAMAGE
from tests.unit.harness.tiny import DIMS, configure, run_on_untrained_base, untrained_base

DOCUMENTS = [
    ([7, 3, 4, 1], 2),
    ([8, 5, 9, 6, 2, 1], 1),
    ([3, 1], 1),
]  # token ids, and how many are the prompt's


def policy(seed: int) -> Policy:
    made = init_policy(DIMS, seed)
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim > 1:
                p.mul_(12.0)
    return made


def kept(base: Policy) -> Retention:
    measured = Retention.__new__(Retention)
    measured.base, measured.num_idle = base, 0
    measured.parts = [pad(DOCUMENTS[:2]), pad(DOCUMENTS[2:])]
    return measured


@torch.no_grad()
def log_softmax(model: Policy, ids: list[int]) -> list[list[float]]:
    states = model.hidden(pack_rows(torch.tensor([ids]), torch.tensor([len(ids)])))
    return (states @ model.head_weight.T).log_softmax(-1).tolist()


def test_loss_and_both_divergences_against_brute_force() -> None:
    base, ours = policy(1), policy(2)
    loss = forward = reverse = 0.0
    count = 0
    for ids, num_prompt in DOCUMENTS:
        p, q = log_softmax(base, ids), log_softmax(ours, ids)
        for t in range(num_prompt, len(ids)):
            loss -= q[t - 1][ids[t]]
            for a, b in zip(p[t - 1], q[t - 1], strict=True):
                forward += float(torch.tensor(a).exp()) * (a - b)
                reverse += float(torch.tensor(b).exp()) * (b - a)
            count += 1
    assert count == 2 + 5 + 1
    found = kept(base).measure(ours)
    assert found["kept_loss"] == pytest.approx(loss / count, rel=1e-4)
    assert found["kept_kl_forward"] == pytest.approx(forward / count, rel=1e-4)
    assert found["kept_kl_reverse"] == pytest.approx(reverse / count, rel=1e-4)
    assert abs(forward - reverse) > 0.01 * count  # two directions, not one twice


def test_zero_at_the_base() -> None:
    found = kept(policy(1)).measure(policy(1))
    assert found["kept_kl_forward"] == found["kept_kl_reverse"] == 0.0


def test_every_arm_on_a_base_measures_the_same_documents(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path)
    reference = run.retention.parts
    assert sum(len(lengths) for _, lengths, _ in reference) == 128

    def same(*overrides: str) -> bool:
        parts = Retention(configure(*overrides), run.models.policy, run.codec, tmp_path / "base").parts
        return all(torch.equal(a[0], b[0]) for a, b in zip(parts, reference, strict=True))

    assert same("seed=3", "replicate=2", "objective=pg")
    assert not same("base_seed=1") and not same("corpus=clean")


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_bases_own_text_is_sampled_once_and_anew_where_it_is_damaged(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = untrained_base(tmp_path / "base")
    config, codec = configure("model=ladder_xs"), Codec.from_folder(folder / "model")
    base = load_pretrained(folder / "model", dtype=torch.float32, device="cpu")
    first = own_text(config, base, codec, folder, 1)
    (path,) = (folder / "kept").iterdir()
    whole = path.read_bytes()
    assert own_text(config, policy(3), codec, folder, 1) == first, "read, not sampled from another"
    DAMAGE[damage](path)
    assert own_text(config, base, codec, folder, 1) == first and path.read_bytes() == whole
    assert (f"warning: {path}: " in capsys.readouterr().err) == (damage != "deleted")
    path.write_text(json.dumps([ids[1:] for ids, _ in first]))  # as it was before there were checksums
    assert own_text(config, policy(3), codec, folder, 1) == first
