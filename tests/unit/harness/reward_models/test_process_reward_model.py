"""The learned process reward: which tokens are steps, their labels, that it learns, its part of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.identity import run_id
from harness.reward_models.graded import continued
from harness.reward_models.process_reward_model import ProcessRewardModel, fit, labelled, marks
from harness.reward_models.reward_model import source_of
from harness.training.experience import score
from harness.training.rollout_metrics import rollout_metrics
from harness.types import Problem, Prompt, Rollout, SamplingParams
from tests.unit.harness.tiny import configure, run_on_untrained_base
from tests.unit.harness.training.test_critic import value_model
from tests.unit.harness.training.test_process import TOKENIZER, decode, rollout

LINES = ("objective=grpo_prm", "rollout.max_new_tokens=24", "objective.process_reward_model.num_problems=8")
MONTE_CARLO = (*LINES, "objective.process_reward_model.labels=monte_carlo")
TEXT = "2+3=5\n5*2=11\n\\boxed{11}"  # a right statement, a wrong one, the answer


def length(text: str) -> int:
    return len(TOKENIZER.encode(text).ids)


def test_the_steps_are_the_statements_and_the_answer() -> None:
    made = rollout(TEXT)
    first, second = length("2+3=5") - 1, length("2+3=5\n5*2=11") - 1
    last = len(made.completion_ids) - 1
    assert marks(made, right=True, decode=decode) == [(first, 1.0), (second, 0.0), (last, 1.0)]
    assert marks(rollout("\\boxed{11}"), right=False, decode=decode) == [(length("\\boxed{11}"), 0.0)]
    # Cut at the statement's end: statement and answer are one step, right only if both are.
    cut = replace(rollout("2+3=5"), completion_ids=tuple(TOKENIZER.encode("2+3=5").ids))
    assert marks(cut, right=False, decode=decode) == [(first, 0.0)]
    assert marks(cut, right=True, decode=decode) == [(first, 1.0)]


class Finisher:
    """Ends every first sample of a prefix with \\boxed{11}, the others with \\boxed{7}; keeps the limits."""

    def __init__(self) -> None:
        self.rooms: list[tuple[int, int]] = []  # (prompt and prefix tokens, max_new_tokens) of a request

    def generate(
        self, prompts: Sequence[Prompt], *, params: SamplingParams, seeds: Sequence[int], policy_step: int = 0
    ) -> list[Rollout]:
        assert len(set(seeds)) == len(seeds)
        found, seen = [], set[tuple[int, ...]]()
        for prompt in prompts:
            self.rooms.append((len(prompt.token_ids), params.max_new_tokens))
            text = "\\boxed{7}" if prompt.token_ids in seen else "\\boxed{11}"
            seen.add(prompt.token_ids)
            found.append(replace(rollout(text), problem_id=prompt.problem_id))
        return found

    def load_weights(self, weights: object) -> None:
        raise AssertionError


@pytest.mark.parametrize(("estimate", "label"), [("soft", 0.25), ("hard", 1.0)])
def test_monte_carlo_labels_are_how_completions_of_the_prefix_end(
    tmp_path: Path, estimate: str, label: float
) -> None:
    config = configure(*MONTE_CARLO, f"objective.process_reward_model.estimate={estimate}")
    slot = config.objective.process_reward_model
    assert slot is not None
    engine = Finisher()
    run = run_on_untrained_base(tmp_path, "rollout.max_new_tokens=24")
    source = replace(source_of(run), engine=engine, decode=decode)
    problem = Problem("p", "d", "train", "?", "11")
    prompt = Prompt("p", "question", "?", (7, 3, 7))
    # One of four completions ends right after both statements; the answer itself was graded wrong.
    (steps,), sampled = labelled(source, slot, [problem], [prompt], [rollout(TEXT)], [False])
    assert [x for _, x in steps] == [label, label, 0.0]
    firsts, seconds = length("2+3=5"), length("2+3=5\n5*2=11")
    # Prefix and completion together have the 24 tokens of an output, beside a prompt of 3.
    assert sorted(set(engine.rooms)) == [(3 + firsts, 24 - firsts), (3 + seconds, 24 - seconds)]
    boxes = length("\\boxed{11}") + 1 + 3 * (length("\\boxed{7}") + 1)  # with the end token
    assert sampled == 2 * boxes
    assert continued(source, [], [], [], num=4, name="n") == ([], 0)


def test_it_learns_to_tell_right_steps_from_wrong_on_held_out_problems(tmp_path: Path) -> None:
    lines = ("epochs=24", "batch_size=8", "lr=1e-2")
    run = run_on_untrained_base(tmp_path)
    config = configure(*LINES, *(f"objective.process_reward_model.{x}" for x in lines))
    slot = config.objective.process_reward_model
    assert slot is not None
    prompts, rollouts, steps = [], [], []
    for i in range(30):
        for right in (True, False):  # the first statement ends with 4 or 5; the answer is always right
            ids = (2 + i % 7, 4 if right else 5, 6, 8)
            prompts.append(Prompt(f"p{i}", "question", "", (7, 3 + i % 5)))
            rollouts.append(Rollout(f"p{i}", int(right), ids, "", None, "stop"))
            steps.append([(1, float(right)), (3, 1.0)])
    found = fit(source_of(run), slot, value_model(False), prompts, rollouts, steps)
    assert found["prm_auc"] > 0.95 and found["prm_brier"] < 0.1
    assert found["prm_right"] == 0.5 and found["prm_held_out"] == 12.0
    assert found["prm_answer_right"] == 1.0 and found["prm_answer_brier"] < 0.1
    assert "prm_answer_auc_within" not in found  # no answer is wrong


def test_the_answers_are_judged_within_their_problems_too(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path)
    lines = ("epochs=24", "batch_size=8", "lr=1e-2")
    config = configure(*LINES, *(f"objective.process_reward_model.{x}" for x in lines))
    slot = config.objective.process_reward_model
    assert slot is not None
    prompts, rollouts, steps = [], [], []
    for i in range(30):
        for right in (True, False):  # the statement is always right; the answer ends with 4 or 5
            ids = (2 + i % 7, 6, 4 if right else 5)
            prompts.append(Prompt(f"p{i}", "question", "", (7, 3 + i % 5)))
            rollouts.append(Rollout(f"p{i}", int(right), ids, "", None, "stop"))
            steps.append([(1, 1.0), (2, float(right))])
    found = fit(source_of(run), slot, value_model(False), prompts, rollouts, steps)
    assert found["prm_answer_auc_within"] > 0.95 and "prm_auc_within" not in found


def test_an_outputs_score_is_its_least_step_and_its_batch_mates_do_not_matter() -> None:
    texts = (TEXT, "\\boxed{11}", "1+1=2 \\boxed{2}", TEXT)
    # The tiny policy has 11 tokens; what the text says is found by a decoder of its own.
    rollouts = [
        Rollout(f"p{i}", 0, tuple(2 + (j + i) % 9 for j in range(len(t))), t, None, "stop")
        for i, t in enumerate(texts)
    ]
    prompts = [Prompt(f"p{i}", "question", "", (7, 3 + i)) for i in range(4)]

    def model(budget: int) -> ProcessRewardModel:
        return ProcessRewardModel(value_model(False), lambda ids: "x" * len(ids), budget, {})

    steps = model(1000).steps(prompts, rollouts)
    assert [[at for at, _ in of] for of in steps] == [[4, 11, 22], [9], [4, 14], [4, 11, 22]]
    scores = model(1000).score(prompts, rollouts)
    assert scores == [min(p for _, p in of) for of in steps] and len(set(scores)) == 4
    assert model(1).score(prompts, rollouts) == pytest.approx(scores, abs=1e-6)


def test_its_probability_is_a_weighted_part_of_each_step_reward(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=grpo_process", "objective.reward.steps=1")
    reward = run.config.objective.reward.model_copy(update={"step_model": 0.5})
    objective = run.config.objective.model_copy(update={"reward": reward})
    run.config = run.config.model_copy(update={"objective": objective})
    problem = run.problems[0]
    rollouts = [replace(rollout(TEXT), problem_id=problem.id, sample_idx=i) for i in range(4)]
    at = [place for place, _ in marks(rollouts[0], right=False, decode=decode)]
    said = tuple(zip(at, (0.8, 0.4, 0.9), strict=True))
    run.learned_rewards.steps = SimpleNamespace(steps=lambda prompts, rollouts: [said] * 4)
    (group,) = score(run, [problem], rollouts)
    assert group.step_rewards is not None
    # right: 1 + 0.5 × 0.8; wrong: 0.5 × 0.4; the answer's probability is no reward
    for of in group.step_rewards:
        assert [x for _, x in of] == pytest.approx([1.4, 0.2]) and [p for p, _ in of] == at[:2]
    assert rollout_metrics([group], learned_steps=True)["step_reward"] == pytest.approx(0.8)
    assert "right_steps" not in rollout_metrics([group], learned_steps=True)


@pytest.mark.parametrize("lines", [LINES, MONTE_CARLO])
def test_it_is_trained_once_and_its_cost_is_counted_once(tmp_path: Path, lines: tuple[str, ...]) -> None:
    first = run_on_untrained_base(tmp_path, *lines)
    again = run_on_untrained_base(tmp_path, *lines)
    assert first.learned_rewards.steps is not None and again.learned_rewards.steps is not None
    assert (
        first.counters.tokens == again.counters.tokens and first.counters.tokens["process_reward_model"] > 0
    )
    assert first.counters.flops == again.counters.flops and first.counters.seconds == again.counters.seconds
    assert first.learned_rewards.steps.metrics == again.learned_rewards.steps.metrics
    assert "prm_answer_auc" in first.learned_rewards.steps.metrics


def test_being_off_it_does_not_rename_a_run() -> None:
    plain = configure("objective=grpo_process")
    assert run_id(plain) == run_id(configure("objective=grpo_process", "objective.reward.step_model=0"))
    assert "process_reward_model" not in plain.objective.model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["objective=grpo_process", "objective.reward.step_model=1"], "step_model=1 without process_reward"),
        (["objective=grpo_prm", "objective.reward.step_model=0"], "steps"),
        (["objective=grpo_prm", "objective.process_reward_model.estimate=soft"], "labels=monte_carlo"),
    ],
)
def test_what_does_not_fit_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(*lines)
