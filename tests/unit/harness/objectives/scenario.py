"""The scenario whose losses test_objectives.py and test_variants.py work by hand, and random steps.

Logprobs and values are tables instead of models. The scenario, one group of two after a prompt of one token:

    row  reward  token  pi  pi_old  pi_ref  pi/pi_old  V at sampling  V now
    0    1       0      .6  .48     .2      1.25       .5             .7
    1    0       0      .2  .4      .4      .5         .5             .5
                 1      .5  .5      .25     1          .25            0

k3 to the reference: r - 1 - ln r = .431946 (r = 1/3), .306853 (2), .193147 (1/2). Of pi_old to pi: .026856
(5/4), .193147 (1/2), 0. Clip 0.2 unless said: 1.25 becomes 1.2 where A > 0, .5 becomes .8 where A < 0. DAPO's
upper bound of 1.28 leaves 1.25 as it is, so that its bounds cannot change places unseen.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.model.fused import unpack
from harness.model.rows import Rows
from harness.objectives import kl
from harness.schema.run_config import RunConfig
from harness.training import critic, gradient
from harness.training.advantages import build_batch, needs_model_scores, with_advantages
from harness.training.models import Models
from harness.types import ScoredGroup
from tests.unit.harness.tiny import configure, group
from tests.unit.harness.training.one_step import in_dtype

TEACHER = "objective.teacher.path=/a/model"


class Table(nn.Module):
    """Logprobs (or values) [B, T] of a batch whose completions' tokens are its row numbers."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())
        self.trunk = self

    @property
    def head_weight(self) -> Tensor:
        return self.values

    def of(self, rows: Rows) -> Tensor:
        return unpack(self.values[rows.targets, rows.at % rows.shape[1]], rows.at, *rows.shape)


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the table wherever training would ask a model."""

    def exact(policy: Table, reference: Table, rows: Rows, *, temperature: float) -> Tensor:
        """KL between two-token distributions (p, 1 - p) and (q, 1 - q)."""
        both = [
            torch.stack((x, torch.log1p(-x.exp().clamp(max=1 - 1e-9))), -1)
            for x in (policy.of(rows), reference.of(rows))
        ]
        found = kl.exact(log_softmax=both[0], ref_log_softmax=both[1]).flatten()
        return unpack(found[rows.at], rows.at, *rows.shape)

    monkeypatch.setattr(gradient, "_logprobs", lambda policy, rows, config, states=None: policy.of(rows))
    monkeypatch.setattr(gradient, "exact_kl", exact)
    monkeypatch.setattr(gradient, "joined", lambda policy: nullcontext())
    monkeypatch.setattr(critic, "token_values", lambda value, policy, rows: value.of(rows))


def config_of(name: str, *overrides: str) -> RunConfig:
    teacher = [TEACHER] if name.startswith("distill") else []
    return configure(f"objective={name}", *teacher, *overrides)


def without_kl(name: str) -> tuple[str, ...]:
    """PPO's penalty has no gradient at ratio 1, InstructGPT's is in A, distillation's is all there is."""
    return ("objective.kl.coef=0",) if name.startswith("grpo") else ()


def groups_of(rewards: list[float], lengths: list[int], size: int) -> list[ScoredGroup]:
    """Groups of `size`, each output its own text, with a right statement at its first token if it has two."""
    made = []
    for start in range(0, len(rewards), size):
        ids = [[start + i + 1] * n for i, n in enumerate(lengths[start : start + size])]
        g = group(f"g{start}", [0], ids, rewards[start : start + size])
        rollouts = tuple(replace(r, text=str(start + i)) for i, r in enumerate(g.rollouts))
        steps = tuple(((0, 1.0),) if len(row) > 1 else () for row in ids)
        made.append(replace(g, rollouts=rollouts, step_rewards=steps))
    return made


class Step:
    """A batch with tables: `now` and `old` logprobs, `ref`, values `old_v` and `new_v`, all [B, T]."""

    def __init__(self, config: RunConfig, groups: list[ScoredGroup], tensors: list[Tensor]) -> None:
        self.config, objective = config, config.objective
        self.batch = in_dtype(build_batch(groups, objective), torch.float64)
        self.batch.input_ids[:, 1:] = torch.arange(len(self.batch.lengths))[:, None]
        now, old, ref, old_v, new_v = tensors
        self.policy, self.value = Table(now), Table(new_v)
        values = old_v if objective.value is not None else None
        self.batch = replace(self.batch, old_logprobs=old, ref_logprobs=ref, values=values)
        if needs_model_scores(objective):
            self.batch = with_advantages(self.batch, objective, kl_coef=objective.kl.coef)

    def run(self) -> tuple[dict[str, float], Tensor]:
        """Metrics, and the gradient with respect to the logprobs and values that are trained, [2, B, T]."""
        for table in (self.policy, self.value):
            table.values.grad = torch.zeros_like(table.values)
        value = self.value if self.config.objective.value is not None else None
        assert self.batch.ref_logprobs is not None
        reference = Table(self.batch.ref_logprobs)
        models = Models(self.policy, reference, value)
        rows, kl_coef = torch.arange(len(self.batch.lengths)), self.config.objective.kl.coef
        metrics, _ = gradient.accumulate(
            models, self.batch, rows, rows, self.config, kl_coef=kl_coef, on_policy=False
        )
        assert self.policy.values.grad is not None and self.value.values.grad is not None
        return metrics, torch.stack((self.policy.values.grad, self.value.values.grad))


def scenario(name: str, *overrides: str, ref: tuple[float, tuple[float, float]] = (0.2, (0.4, 0.25))) -> Step:
    """The scenario of the module docstring, or with another `ref`: probabilities of row 0, and of row 1."""

    def log(first: float, second: tuple[float, float]) -> Tensor:
        return torch.tensor([[1.0, first, 1.0], [1.0, *second]], dtype=torch.float64).log()

    def plain(first: float, second: tuple[float, float]) -> Tensor:
        return torch.tensor([[0.0, first, 0.0], [0.0, *second]], dtype=torch.float64)

    rewards = [0.0, 0.0] if name == "distill_on_policy" else [1.0, 0.0]
    probabilities = [(0.6, (0.2, 0.5)), (0.48, (0.4, 0.5)), ref]
    values = [(0.5, (0.5, 0.25)), (0.7, (0.5, 0.0))]
    tensors = [log(*p) for p in probabilities] + [plain(*v) for v in values]
    return Step(config_of(name, *overrides), groups_of(rewards, [1, 2], 2), tensors)


def random_step(name: str, seed: int, *overrides: str, on_policy: bool = False) -> Step:
    """4 groups of 3 rows of 1 to 6 tokens, off-policy enough for clips to bind."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (12,), generator=g).tolist()
    lengths[0] = 6
    rewards = (torch.randint(0, 3, (12,), generator=g) / 2).tolist()
    rewards = [0.0] * 12 if name == "distill_on_policy" else rewards
    shape = (12, 7)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=g, dtype=torch.float64)

    now = -2 * torch.rand(shape, generator=g, dtype=torch.float64) - 0.05
    old = now if on_policy else now + noise(0.4).clamp(max=0.04)
    ref, old_v, new_v = now - noise(0.3).abs(), noise(0.5), noise(0.5)
    if name == "rlhf_ppo" and on_policy:
        ref = old
    mask = torch.arange(7) <= torch.tensor(lengths)[:, None]
    mask[:, 0] = False
    inside = [torch.where(mask, x, 0.0) for x in (now, old, ref, old_v, new_v)]
    return Step(config_of(name, *overrides), groups_of(rewards, lengths, 3), inside)
