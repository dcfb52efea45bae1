"""The five tests of every objective in conf/objective/, from its YAML through the code that trains.

Hand-worked numbers, a gradient identity, poisoned padding, invariance to how a step is split, and a limit.

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

import itertools
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.launch.compose import CONF
from harness.model.fused import unpack
from harness.model.rows import Rows
from harness.objectives import kl, policy_loss
from harness.schema.run_config import RunConfig
from harness.training import critic, gradient
from harness.training.advantages import build_batch, needs_model_scores, with_advantages
from harness.training.models import Models
from harness.types import ScoredGroup
from tests.unit.harness.tiny import configure, group
from tests.unit.harness.training.test_update import in_dtype

# name -> (policy loss, value loss) of the scenario
HAND: dict[str, tuple[float, float | None]] = {
    # -ln .6 over the one accepted token
    "sft_rejection": (0.510826, None),
    "sft_rejection_offline": (0.510826, None),
    "distill": (0.510826, None),
    # A = ±1/2: (-.5 ln .6 + .5 (ln .2 + ln .5)) / 2
    "pg": (-0.447940, None),
    # A = ±.5 / sqrt(.5) = ±.707107. Row 0: -1.2 A + .04 x .431946 = -.831250. Row 1: .8 A and A, with the KL
    # .577959 and .714833, mean .646396. / 2
    "grpo": (-0.092427, None),
    # Steps: row 1's statement at token 0 is right (1); the answers are 1 and 0. Mean 2/3, std .577350:
    # .577350, .577350, -1.154701. A: .577350; -.577350, -1.154701. Rows -.675542; (.474154 + 1.162427) / 2
    "grpo_process": (0.071375, None),
    "grpo_prm": (0.071375, None),
    # A = ±1/2: -.6 + .4 + .5 = .3, / (2 rows x 24 tokens)
    "dr_grpo": (0.00625, None),
    # -1.25 x .707107 + .565685 + .707107, / 3 tokens; with its bounds swapped, 1.2 and .72, .122565
    "dapo": (0.129636, None),
    # whole outputs, A = ±1: -1.2 and .8, / 2
    "rloo": (-0.2, None),
    # A of tokens with rewards 1, 0, 0: mean 1/3, std .471405: 1.414214, -.707107 twice:
    # (-1.2 x 1.414214 + .8 x .707107 + .707107) / 3
    "reinforce_pp": (-0.141421, None),
    # A = (R - mean) / mean = ±1: (-1.2 + .8 + 1) / 3
    "max_rl": (0.2, None),
    # ratios 1.25 -> 1.0004 and sqrt(.5) -> .9997 of whole outputs: .707107 (-1.0004 + .9997) / 2
    "gspo": (-0.000247, None),
    # weights 1.25, .5, 1 within [0, 5]: -1.25 A ln .6 = .451510; .5 A ln .2 = -.569022;
    # A ln .5 = -.490129; / 3
    "cispo": (-0.202547, None),
    # lambda 1: A = R - V = .5, -.5, -.25; whitened (mean -.083333, std .424918) 1.372813, -.980581, -.392232:
    # (-1.647375 + .784465 + .392232) / 3. Value: .3^2, .5^2, and V = 0 held at .05: .05^2; / 2, / 3
    "ppo_clip": (-0.156893, 0.057083),
    # + .2 x .220004 / 3
    "ppo": (-0.142226, 0.057083),
    # unclipped: (-1.716016 + .490290 + .392232 + .044001) / 3
    "ppo_kl": (-0.263164, 0.057083),
    # rewards 1 - .02 ln 2.4 = .982491; 0, -.013863. lambda .95: A = .482491; -.25 - .95 x .263863 = -.500670,
    # -.263863; whitened (mean -.094014, std .418957) 1.376047, -.970638, -.405409:
    # (-1.651256 + .776511 + .405409) / 3. Returns .982491; -.000670, -.013863: (.282491^2 + .500670^2 +
    # .063863^2) / 6
    "rlhf_ppo": (-0.156446, 0.055758),
    # p ln p/q + (1 - p) ln (1-p)/(1-q): .381908 + .091517 + .143841, / 3
    "distill_on_policy": (0.205755, None),
}
every_objective = pytest.mark.parametrize("name", sorted(HAND))
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
    """Where a model would be asked, the table is."""

    def exact(policy: Table, reference: Table, rows: Rows, *, temperature: float) -> Tensor:
        """Of two-token distributions (p, 1 - p) and (q, 1 - q)."""
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
        models = Models(self.policy, reference, value)  # type: ignore[arg-type]
        rows, kl_coef = torch.arange(len(self.batch.lengths)), self.config.objective.kl.coef
        metrics, _ = gradient.accumulate(
            models, self.batch, rows, rows, self.config, kl_coef=kl_coef, on_policy=False
        )
        assert self.policy.values.grad is not None and self.value.values.grad is not None
        return metrics, torch.stack((self.policy.values.grad, self.value.values.grad))


def scenario(name: str, *overrides: str, ref: tuple[float, tuple[float, float]] = (0.2, (0.4, 0.25))) -> Step:
    """The scenario of the docstring above, or with another `ref`: probabilities of row 0, and of row 1."""

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


def test_every_objective_of_conf_is_here() -> None:
    assert set(HAND) == {path.stem for path in (Path(CONF) / "objective").glob("*.yaml")}


@every_objective
def test_hand_worked_numbers(name: str) -> None:
    metrics, _ = scenario(name).run()
    loss, value_loss = HAND[name]
    assert metrics["loss"] == pytest.approx(loss, abs=4e-6)
    if value_loss is None:
        assert "value_loss" not in metrics
    else:
        assert metrics["value_loss"] == pytest.approx(value_loss, abs=2e-6)


@every_objective
def test_on_policy_gradient_is_the_policy_gradient(name: str) -> None:
    """Without KL: -A / denominator at each token. The exact KL's is p (ln p/q - ln (1-p)/(1-q))."""
    step = random_step(name, 1, *without_kl(name), on_policy=True)
    objective, mask, a = step.config.objective, step.batch.completion_mask, step.batch.advantages
    _, (found, _) = step.run()
    counted = (a > 0).any(-1) if objective.reduce_over == "accepted" else torch.ones(12, dtype=torch.bool)
    lengths, rows = mask.sum(-1, keepdim=True).double(), counted.sum().double()
    token = {
        "token_mean": 1 / (lengths.squeeze(1) * counted).sum().expand(12, 1),
        "sequence_mean": 1 / (rows * lengths),
        "sequence_sum": 1 / rows.expand(12, 1),
        "constant": 1 / (rows * step.config.rollout.max_new_tokens).expand(12, 1),
    }
    # A whole output's ratio has the gradient of the sum over its tokens.
    weight = token["sequence_sum" if objective.ratio == "sequence" else objective.reduce]
    expected = -a * weight
    if name == "distill_on_policy":
        assert step.batch.ref_logprobs is not None
        p, q = step.policy.values.detach().exp(), step.batch.ref_logprobs.exp()
        slope = p * ((p / q).log() - ((1 - p) / (1 - q)).log())
        expected = torch.where(mask, slope, 0.0) * weight
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "grpo_process", "grpo_prm"])
def test_grpo_has_the_gradient_coefficient_of_its_paper(name: str) -> None:
    """At ratio 1: A + coef (pi_ref / pi - 1) of each token (arXiv:2402.03300 eq. 21)."""
    step = random_step(name, 1, on_policy=True)
    assert step.batch.ref_logprobs is not None and step.config.objective.kl.coef == 0.04
    _, (found, _) = step.run()
    mask = step.batch.completion_mask
    ratio = (step.batch.ref_logprobs - step.policy.values.detach()).exp()
    coefficient = torch.where(mask, step.batch.advantages + 0.04 * (ratio - 1), 0.0)
    expected = -coefficient / (12 * mask.sum(-1, keepdim=True))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@every_objective
def test_its_papers_equation_is_in_the_docstring(name: str) -> None:
    lines = (policy_loss.__doc__ or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
    entry = [lines[start], *itertools.takewhile(lambda line: line.startswith(" "), lines[start + 1 :])]
    text = " ".join(entry)
    assert any(sign in text for sign in ("sum_", "E_t[", "the same", "PPO on"))


@every_objective
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_poisoned_padding(name: str, poison: float) -> None:
    clean, found = random_step(name, 2).run()
    dirty = random_step(name, 2)
    outside = ~dirty.batch.completion_mask
    for table in (dirty.policy, dirty.value):
        table.values.data[outside] = poison
    for tensor in (dirty.batch.old_logprobs, dirty.batch.ref_logprobs, dirty.batch.sampler_logprobs):
        assert tensor is not None
        tensor[outside] = -poison
    same, again = dirty.run()
    assert same == clean and torch.equal(again, found)
    assert bool((found[:, outside] == 0).all())


@every_objective
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_step_does_not_depend_on_its_split_or_order(name: str, data: st.DataObject) -> None:
    order = torch.tensor(data.draw(st.permutations(range(12))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 11), max_size=6)))
    step = random_step(name, 3)
    whole, found = step.run()
    with pytest.MonkeyPatch.context() as patch:
        parts = [(part, True) for part in torch.tensor_split(order, cuts)]
        patch.setattr(gradient, "shared_microbatches", lambda *_, **__: parts)
        split, again = step.run()
    assert split == pytest.approx(whole, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(again, found, rtol=1e-10, atol=1e-14)


@every_objective
def test_limit_nothing_to_learn_is_exactly_nothing(name: str) -> None:
    """No gradient, not a small one: equal rewards, none accepted, a right critic, student = teacher."""
    nothing = ("sft_rejection", "sft_rejection_offline", "distill", "distill_on_policy")
    reward = 0.0 if name in nothing else 1.2
    config = config_of(name, *without_kl(name))
    (made,) = groups_of([reward] * 7, [3] * 7, 7)
    made = replace(made, step_rewards=tuple(((0, reward),) for _ in range(7)))
    mask = torch.tensor([[0.0, 1.0, 1.0, 1.0]]).expand(7, 4)
    g = torch.Generator().manual_seed(5)
    now = -(torch.rand(7, 4, generator=g) + 0.1) * mask
    off_policy = config.objective.kl.against == "ref"  # PPO's penalty is 0 at the sampling weights alone
    old = now - 0.3 * torch.rand(7, 4, generator=g) * mask if off_policy else now
    ref = now if name == "distill_on_policy" else old
    values = reward * mask
    step = Step(config, [made], [x.double() for x in (now, old, ref, values, values)])
    metrics, found = step.run()
    tiny = 1e-15 if name == "distill_on_policy" else 0.0  # a softmax's two halves cancel to the last bit
    assert abs(metrics["loss"]) <= tiny and found.abs().max() <= tiny
