"""Log-probabilities under the base against a softmax by hand, and their way into the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.evaluation.base_logprobs import base_scorer, sequence_logprobs
from harness.evaluation.evaluate import evaluate
from harness.launch.compose import Composer
from harness.model.files.hub import load_pretrained
from harness.model.policy import Policy, init_policy, states_before
from harness.model.rows import pack_rows
from harness.types import Prompt, Rollout
from tests.unit.harness.tiny import DIMS, configure, untrained_base

WHOLE = r"47*4=188;1+8=9;9+8=17;\boxed{17}"  # digits(47*4) = 17, in two parts


def next_token(policy: Policy, ids: list[int], temperature: float) -> torch.Tensor:
    """Distribution after `ids`, one prefix at a time."""
    row = torch.tensor([[*ids, 0]])
    wanted = torch.zeros_like(row, dtype=torch.bool)
    wanted[0, -1] = True
    states = states_before(policy, pack_rows(row, torch.tensor([len(ids) + 1]), wanted))
    return torch.softmax(states[-1] @ policy.head_weight.T / temperature, dim=-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_completion_s_logprob_is_the_product_of_its_tokens(temperature: float) -> None:
    policy = init_policy(replace(DIMS, vocab_size=11), 3)
    pairs = [([2, 3, 4], [5, 6, 1]), ([7], [8, 1]), ([2, 3], [9])] * 20  # more than one forward pass
    prompts = [Prompt(str(i), "question", "", tuple(p)) for i, (p, _) in enumerate(pairs)]
    rollouts = [Rollout(str(i), 0, tuple(c), "", None, "stop") for i, (_, c) in enumerate(pairs)]
    found = sequence_logprobs(policy, prompts, rollouts, temperature)
    with torch.no_grad():
        for (prompt, completion), value in list(zip(pairs, found, strict=True))[:3]:
            by_hand = 0.0
            for i, token in enumerate(completion):
                by_hand += float(next_token(policy, [*prompt, *completion[:i]], temperature)[token].log())
            assert value == pytest.approx(by_hand, abs=1e-4)
    assert found[:3] == pytest.approx(found[57:], abs=1e-4)


class Parrot:
    """Says the same to every prompt: sample by sample, then greedily."""

    def generate(self, prompts, *, params, seeds, policy_step=0):
        texts = [WHOLE, WHOLE.replace("47*4", "94*2"), r"\boxed{17}", r"47*4=188;1+8=9;9+8=18;\boxed{18}"]
        seen: dict[str, int] = {}
        found = []
        for prompt in prompts:
            i = seen.setdefault(prompt.problem_id, 0)
            seen[prompt.problem_id] += 1
            ids = tuple(range(i + 2))
            found.append(Rollout(prompt.problem_id, i, ids, texts[i % 4], None, "stop", policy_step))
        return found


def test_valid_chains_and_what_the_base_thinks_of_them_are_recorded(tmp_path: Path) -> None:
    config = Composer().config(
        ["data=composites", "corpus=composites", "eval.k=4", "eval.splits=[test]", "eval.greedy=false"]
    )
    asked: list[tuple[int, float]] = []

    def scorer(prompts, rollouts, temperature):
        asked.append((len(rollouts), temperature))
        return [-float(len(r.completion_ids)) for r in rollouts]

    (record,) = evaluate(
        Parrot(),
        config=config,
        encode=lambda text, _: list(text.encode()),
        checkpoint="base",
        step=0,
        folder=tmp_path,
        run_id=None,
        base_id="b",
        eval_seed=7,
        base_scorer=lambda: scorer,
    )
    assert record.valid_chains is not None and record.templates is not None
    assert record.base_logprobs is not None
    rights = [i for i, row in enumerate(record.correct) if row[0]]
    # the script's own problem is not among these: whatever is right is right by chance, through no part
    assert all(sum(record.valid_chains[i]) == 0 for i in rights)
    assert asked == [] and record.metrics["valid_chain"] == 0.0
    assert all(row[2] is None and row[0] is not None for row in record.templates)
    assert all(value is None for row in record.base_logprobs for value in row)


def test_a_problem_with_valid_chains_asks_the_base_about_these_alone() -> None:
    from harness.evaluation.eval_metrics import Scored, record_fields
    from harness.evaluation.eval_tasks import eval_tasks
    from harness.evaluation.evaluate import _base_logprobs, scored
    from harness.types import Problem

    config = Composer().config(["data=composites", "corpus=composites", "eval.k=4", "eval.splits=[test]"])
    (task, *_) = eval_tasks(config)
    problem = Problem("d/0", "aime_gen", "test", "digits(47*4)", "17", parts=(188,))
    prompt = Prompt("d/0", "question", "", (1,))
    rollouts = Parrot().generate([prompt] * 4, params=None, seeds=[0] * 4)
    row = scored(task, problem, rollouts)
    # the second multiplies numbers that are nowhere, the third shows nothing, the fourth is wrong
    fields = record_fields([row], None)
    assert fields["valid_chains"] == [[1, 0, 0, 0]]
    assert fields["templates"][0][2] is None and len({*fields["templates"][0]}) == 3
    assert fields["metrics"]["valid_chain"] == 0.25
    found = _base_logprobs(lambda: lambda p, r, t: [-2.5] * len(r), [row], task, lambda text, _: [1])
    assert found == [[-2.5, None, None, None]]
    plain = Scored(problem, row.rollouts, row.scores)
    assert "valid_chains" not in record_fields([plain], None)
    assert _base_logprobs(lambda: lambda p, r, t: [0.0], [plain], task, lambda text, _: [1]) is None


def test_the_scorer_is_the_base_on_disk(tmp_path: Path) -> None:
    base = untrained_base(tmp_path)
    prompts, rollouts = [Prompt("a", "question", "", (40, 41))], [Rollout("a", 0, (42, 1), "", None, "stop")]
    (found,) = base_scorer(configure(), base, "cpu")(prompts, rollouts, 1.0)
    policy = load_pretrained(base / "model", dtype=torch.float32, device="cpu")
    assert found == pytest.approx(sequence_logprobs(policy, prompts, rollouts, 1.0)[0])
