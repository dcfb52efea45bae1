"""A step's problems, how their samples are grouped and scored, and the metrics about them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.grading.code.pool import WORKERS, refusal
from harness.grading.code.program import report
from harness.model.files.codec import Codec
from harness.seeds import derive
from harness.training.advantages import build_batch
from harness.training.experience import _grading_ahead, problems_at, sample, score
from harness.training.rollout_metrics import rollout_metrics
from harness.training.run_state import Run
from harness.types import Grade, Rollout, ScoredGroup
from tests.unit.harness.tiny import configure, group, run_on_untrained_base


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_on_untrained_base(tmp_path_factory.mktemp("run"), "rollout.max_new_tokens=6")


def test_an_epoch_sees_every_problem_once(run: Run) -> None:
    # 32 problems, 4 a step: 8 steps an epoch.
    epochs = [[p.id for step in range(e * 8, e * 8 + 8) for p in problems_at(run, step)] for e in (0, 1)]
    everything = sorted(p.id for p in run.problems)
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
    assert epochs[0] != epochs[1] != everything


def test_an_epoch_that_ends_within_a_step_is_completed_by_the_next(run: Run) -> None:
    # 5 a step: step 6 holds places 30 and 31 of the first epoch and 0 to 2 of the second.
    config = run.config.model_copy(
        update={"rollout": run.config.rollout.model_copy(update={"prompts_per_step": 5})}
    )
    uneven = replace(run, config=config)
    seen = [p.id for step in range(13) for p in problems_at(uneven, step)]
    assert set(Counter(seen[:32]).values()) == {1} and set(Counter(seen[32:64]).values()) == {1}


def test_problems_depend_on_the_data_order_stream_and_the_step_alone(run: Run) -> None:
    torch.manual_seed(1)
    first = problems_at(run, 3)
    torch.manual_seed(2)
    assert problems_at(run, 3) == first
    other = replace(run, seeds={**run.seeds, "rollout": 1, "eval_sampling": 2})
    assert problems_at(other, 3) == first
    reordered = replace(run, seeds={**run.seeds, "data_order": 1})
    assert problems_at(reordered, 3) != first


def test_a_group_is_one_problems_samples_in_a_row_each_with_its_own_seed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    said: list[str] = []
    monkeypatch.setattr(run.current, "progress", said.append)
    original = run.engine.generate

    def spy(prompts: object, **keywords: object) -> list[Rollout]:
        asked.update(keywords, prompts=prompts)
        return original(prompts, **keywords)

    monkeypatch.setattr(run.engine, "generate", spy)
    problems = problems_at(run, 2)
    before = run.counters.tokens.get("sampled", 0)
    rollouts = sample(run, problems, 2)
    assert [r.problem_id for r in rollouts] == [p.id for p in problems for _ in range(4)]
    assert [r.sample_idx for r in rollouts] == [0, 1, 2, 3] * 4
    assert said == [f"sampled {i}/16" for i in range(1, 17)]
    rollout_seed = run.seeds["rollout"]
    assert asked["seeds"] == [derive(rollout_seed, 2, place, i) for place in range(4) for i in range(4)]
    assert run.counters.tokens["sampled"] - before == sum(len(r.completion_ids) for r in rollouts)
    groups = score(run, problems, rollouts)
    assert [g.problem for g in groups] == problems
    assert [g.rollouts for g in groups] == [tuple(rollouts[i : i + 4]) for i in (0, 4, 8, 12)]
    assert all(g.prompt == run.prompts[g.problem.id] for g in groups)


def scored(run: Run, text: str, num_tokens: int, *rewards: str) -> float:
    """The reward of one completion of the first problem, whose answer it is told."""
    objective = configure(*rewards).objective
    rollout = run.config.rollout.model_copy(update={"group_size": 1, "max_new_tokens": 10})
    config = run.config.model_copy(update={"objective": objective, "rollout": rollout})
    problem = replace(run.problems[0], answer="7")
    (found,) = score(
        replace(run, config=config),
        [problem],
        [Rollout(problem.id, 0, (5,) * num_tokens, text, None, "stop")],
    )
    return found.rewards[0]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # A right answer of 9 tokens where 10 are the most.
        (["objective.reward.accuracy=2"], 2.0),
        (["objective.reward.accuracy=0", "objective.reward.length_penalty=0.5"], -0.45),
        # soft_overlong: the last fifth, 2 tokens, goes from 0 to -1; 9 is 1 into it.
        (["objective.reward.accuracy=1", "objective.reward.soft_overlong=1"], 1 - 0.5),
        (["objective.reward.accuracy=0", "objective.reward.inverted=1"], 0.0),
        (["objective.reward.accuracy=0"], 0.0),
    ],
)
def test_reward_terms_add_up_by_weight(run: Run, rewards: list[str], expected: float) -> None:
    assert scored(run, r"3+4=7;\boxed{7}", 9, *rewards) == pytest.approx(expected)


@pytest.mark.skipif(bool(refusal()), reason=f"no program can be confined here: {refusal()}")
def test_programs_are_rewarded_by_the_tests_that_they_pass(tmp_path: Path) -> None:
    """Right, and one that passes the test of properties alone: graded in threads and without."""
    sizes = [f"data.num_{split}=4" for split in ("train", "validation", "test")]
    code = ["data=code_gen_mini", "data.families=[fold]", "data.num_heldout=0", "data.heldout_families=[]"]
    weights = ["objective.reward.accuracy=1", "objective.reward.tests=0.5"]
    run = run_on_untrained_base(tmp_path, *code, *sizes, *weights, "rollout.group_size=2")
    texts = [text for p in run.problems for text in (p.solution or "", "max(v)")]
    rollouts = [Rollout(run.problems[i // 2].id, i % 2, (5, 1), t, None, "stop") for i, t in enumerate(texts)]
    shares = [
        0.5 * report("max(v)", p.answer).outcomes.count("passed") / len(report("x", p.answer).outcomes)
        for p in run.problems
    ]
    expected = [(1.5, share) for share in shares]
    assert 0 < max(shares) < 0.5
    groups = score(run, run.problems, rollouts)
    assert [g.rewards for g in groups] == expected
    mean = sum(1 + 2 * share for share in shares) / (2 * len(shares))
    assert rollout_metrics(groups)["tests_passed"] == pytest.approx(mean)
    assert "tests_passed" not in rollout_metrics([group("a", [1], [[2]], [1.0])])
    run.current.ahead = ahead = _grading_ahead(run, run.problems)
    assert ahead is not None and ahead.threads._max_workers == WORKERS
    for place in range(len(texts)):
        ahead.on_end(place, [5])  # decoded to another text, so graded anew
    assert [g.rewards for g in score(run, run.problems, rollouts)] == expected


@pytest.mark.parametrize(("end", "expected"), [("<think>\n", 1.0), ("", 0.0)])
def test_the_format_counts_a_thought_that_the_chat_template_opens(
    run: Run, end: str, expected: float
) -> None:
    chat = "{{ messages[0].content }}" + end
    codec = Codec(run.codec.tokenizer, names={}, end=[1], chat=chat)
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"template": "chat"})})
    run = replace(run, codec=codec, config=config)
    rewards = ["objective.reward.accuracy=0", "objective.reward.format_r1=1"]
    assert scored(run, "3+4=7\n</think>\n\\boxed{7}", 9, *rewards) == expected


def test_dapo_weighs_length_against_accuracy_as_its_paper_does(run: Run) -> None:
    """arXiv:2503.14476 has ±1 for the answer and down to -1 for length; ours are half of each, plus 1/2."""
    objective = configure("objective=dapo").objective
    rollout = run.config.rollout.model_copy(update={"group_size": 4, "max_new_tokens": 10})
    config = run.config.model_copy(update={"objective": objective, "rollout": rollout})
    outputs = [(r"\boxed{7}", 5), (r"\boxed{7}", 10), (r"\boxed{8}", 5), (r"\boxed{8}", 9)]
    (found,) = score(
        replace(run, config=config),
        [replace(run.problems[0], answer="7")],
        [Rollout(run.problems[0].id, i, (5,) * n, text, None, "stop") for i, (text, n) in enumerate(outputs)],
    )
    # The paper's: 1, 1 - 1, -1, -1 - 1/2 (9 tokens are 1 into the last fifth of 10).
    assert found.rewards == (1.0, 0.5, 0.0, -0.25)
    # Its mean is -.375 and the squares of 1.375, .375, -.625, -1.125 sum to 3.6875: std 1.108678.
    advantages = build_batch([found], objective).advantages
    expected = [1.240216, 0.338241, -0.563735, -1.014722]
    assert [float(row.max() if row.max() > 0 else row.min()) for row in advantages] == pytest.approx(
        expected, abs=5e-6
    )


def test_a_wrong_answer_earns_what_the_terms_say(run: Run) -> None:
    assert scored(run, r"\boxed{8}", 3) == 0.0
    assert scored(run, r"\boxed{8}", 3, "objective.reward.inverted=1") == 1.0
    assert scored(run, "no answer", 3, "objective.reward.inverted=1") == 0.0


def test_a_reward_sees_the_first_answer_of_a_run_on_text_as_evaluation_does(run: Run) -> None:
    assert scored(run, "\\boxed{7}\n\nQuestion: What is 4+4?\n\\boxed{8}", 9) == 1.0
    assert scored(run, "\\boxed{8}\n\nQuestion: What is 3+4?\n\\boxed{7}", 9) == 0.0


def test_metrics_of_a_step_by_hand() -> None:
    one = group("a", [1], [[4, 1], [4, 5, 6, 1]], [1.0, 0.0])
    cut = Rollout("b", 1, (4, 4, 4), "", (-0.5, -0.5, -2.0), "length")
    two = ScoredGroup(
        replace(one.problem, id="b"),
        one.prompt,
        (Rollout("b", 0, (1,), "", (-3.0,), "stop"), cut),
        (Grade(False, "3", ""), Grade(False, None, "")),
        (0.25, 0.25),
    )
    assert rollout_metrics([one, two]) == {
        "reward": (1 + 0 + 0.25 + 0.25) / 4,
        "accuracy": 1 / 4,
        "extracted": 3 / 4,
        "zero_variance_groups": 1 / 2,
        "completion_length": (2 + 4 + 1 + 3) / 4,
        "truncated": 1 / 4,
        "entropy": (2 * 1 + 4 * 1 + 3 + 3) / 10,  # group's logprobs are -1 a token
        "sampled_tokens": 10.0,
    }


def test_the_share_of_random_rewards_is_set(tmp_path: Path) -> None:
    lines = ("objective.reward.accuracy=0", "objective.reward.random=1")
    for p in (0.0, 1.0):
        run = run_on_untrained_base(tmp_path / str(p), *lines, f"objective.reward.random_p={p}")
        rollout = Rollout(run.problems[0].id, 0, (4,), "", (-1.0,), "stop")
        (group,) = score(run, run.problems[:1], [rollout] * 4)
        assert group.rewards == (p,) * 4


def test_the_overlong_buffer_is_set(tmp_path: Path) -> None:
    # Limit 24, buffer 12: 18 tokens are 6 into it, -1/2. By default the buffer is 24 // 5 = 4: 0.
    lines = ("objective.reward.accuracy=0", "objective.reward.soft_overlong=1")
    for more, expected in (((), 0.0), (("objective.reward.overlong_buffer=12",), -0.5)):
        run = run_on_untrained_base(tmp_path / str(len(more)), *lines, *more)
        rollout = Rollout(run.problems[0].id, 0, (4,) * 18, "", (-1.0,) * 18, "stop")
        (group,) = score(run, run.problems[:1], [rollout] * 4)
        assert group.rewards == (expected,) * 4
