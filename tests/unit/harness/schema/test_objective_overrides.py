"""Every setting of every slot can be set from the command line, on GRPO, and makes a run of another name."""

from __future__ import annotations

from functools import reduce

import pytest
import yaml

from harness.identity import run_id
from harness.launch.compose import Composer
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.settings import paths
from tests.unit.harness.tiny import SMALL

COMPOSER = Composer()
MODEL = "={num_problems: 4, epochs: 1, batch_size: 4, lr: 0.001}"
PROCESS = ("advantage.fn=process", "reward.step_model=1", f"process_reward_model{MODEL}")
ACCEPTED = ("advantage.fn=accepted_only", "advantage.std=none", "advantage.eps=0", "selection.fn=accepted")
OFFLINE = (*ACCEPTED, "reduce_over=accepted", "updates.minibatches=1", "offline={epochs: 2, batch_size: 4}")
GAE = ("advantage.fn=gae", "advantage.std=none", "advantage.eps=0")
VALUE = (*GAE, "value={shared_trunk: false, gamma: 1.0, lam: 1.0, coef: 1.0}")
LONGER = ("kl.reference=teacher", "teacher={path: null, pretrain_steps: 9}")
SAPO = ("loss={fn: sapo, tau_low: 1.0, tau_high: 1.0, clip_low: null, clip_high: null}",)
# The setting under test, and what it takes beside it.
CASES: dict[str, tuple[str, ...]] = {
    "name=mine": (),
    "reward.accuracy=0.5": (),
    "reward.format_r1=0.1": (),
    "reward.format_answer=0.5": (),
    "reward.language_consistency=0.5": (),
    "reward.target_script=thai": ("reward.language_consistency=1",),
    "reward.length_penalty=0.1": (),
    "reward.soft_overlong=1.0": (),
    "reward.random=1.0": (),
    "reward.inverted=1.0": (),
    "reward.model=1.0": (f"reward_model{MODEL}",),
    "reward.steps=1.0": ("advantage.fn=process",),
    "reward.step_model=1.0": PROCESS,
    "reward.random_p=0.1": ("reward.random=1",),
    "reward.overlong_buffer=4": ("reward.soft_overlong=1",),
    "selection.fn=accepted": (),
    "selection.cap_per_problem=2": ("selection.fn=accepted",),
    "selection.dedupe=true": ("selection.fn=accepted",),
    "selection.by=accuracy": ("selection.fn=dynamic", "selection.max_sampled=2"),
    "selection.max_sampled=2.0": ("selection.fn=dynamic",),
    "advantage.fn=rloo": ("advantage.std=none", "advantage.eps=0"),
    "advantage.std=population": (),
    "advantage.eps=0.001": (),
    "advantage.threshold=0.5": ("selection.fn=accepted",),
    "advantage.sign=negative": (),
    "advantage.positive_weight=0.1": (),
    "advantage.negative_weight=0.1": (),
    "advantage.entropy_share=0.2": (),
    "advantage.k=2": ("advantage.fn=pass_at_k", "advantage.std=none", "advantage.eps=0"),
    "ratio=sequence_mean": (),
    "loss.fn=cispo": (),
    "loss.clip_low=0.1": (),
    "loss.clip_high=0.3": (),
    "loss.dual_clip=3.0": (),
    "loss.tau_low=1.05": SAPO,
    "loss.tau_high=1.5": SAPO,
    "kl.estimator=exact": (),
    "kl.placement=reward": (),
    "kl.coef=0.1": (),
    "kl.against=old": (),
    "kl.target=0.01": (),
    "kl.horizon=100": ("kl.target=0.01",),
    "kl.refresh_every=4": (),
    "kl.reference=teacher": LONGER,
    "kl.ratio_weighted=true": (),
    "reduce=constant": (),
    "reduce_over=nonzero": (),
    "updates.epochs=3": (),
    "updates.minibatches=1": (),
    "offline.epochs=3": OFFLINE,
    "offline.batch_size=8": OFFLINE,
    "offline.sampler=teacher": (*OFFLINE, "teacher={path: null, pretrain_steps: 9}"),
    "offline.form=equations": (*OFFLINE, "offline.sampler=reference"),
    "offline.format=r1": (*OFFLINE, "offline.sampler=reference"),
    "tis.cap=3.0": ("tis={cap: 2.0, level: token}",),
    "tis.level=sequence": ("tis={cap: 2.0, level: token}",),
    "tis.outside=drop": ("tis={cap: 2.0, level: token}",),
    "tis.floor=0.5": ("tis={cap: 2.0, level: token, outside: drop}",),
    "value.shared_trunk=true": VALUE,
    "value.gamma=0.9": VALUE,
    "value.lam=0.9": VALUE,
    "value.coef=0.5": VALUE,
    "value.clip=0.1": VALUE,
    "value.lr_scale=2.0": VALUE,
    "value.whiten=true": VALUE,
    "teacher.pretrain_steps=8": LONGER,
    "reward_model.num_problems=5": ("reward.model=1", f"reward_model{MODEL}"),
    "reward_model.epochs=2": ("reward.model=1", f"reward_model{MODEL}"),
    "reward_model.batch_size=5": ("reward.model=1", f"reward_model{MODEL}"),
    "reward_model.lr=0.1": ("reward.model=1", f"reward_model{MODEL}"),
    "process_reward_model.num_problems=5": PROCESS,
    "process_reward_model.epochs=2": PROCESS,
    "process_reward_model.batch_size=5": PROCESS,
    "process_reward_model.lr=0.1": PROCESS,
    "process_reward_model.labels=monte_carlo": PROCESS,
    "process_reward_model.completions=2": (*PROCESS, "process_reward_model.labels=monte_carlo"),
    "process_reward_model.estimate=soft": (*PROCESS, "process_reward_model.labels=monte_carlo"),
    "truncated=mask": (),
    "fail_reward=-1.0": ("truncated=fail",),
    "entropy_coef=0.01": (),
    "fp32_head=true": (),
}
# A folder, a model: test_teacher.py.  A stage: test_pipeline.py. Functions in a file: test_own_function.py.
# Tests of programs: test_code_gen.py.
ELSEWHERE = {"teacher.path", "teacher.model", "teacher.stage", "reward.tests"}
ELSEWHERE |= {*(path for path in paths(ObjectiveConfig) if ".custom." in path)}
SECTIONS = {path.rsplit(".", 1)[0] for path in paths(ObjectiveConfig) if "." in path}


def test_no_setting_is_left_out() -> None:
    assert {line.partition("=")[0] for line in CASES} == {*paths(ObjectiveConfig)} - SECTIONS - ELSEWHERE


@pytest.mark.parametrize("line", CASES)
def test_it_is_set_and_names_the_run(line: str) -> None:
    path, _, value = line.partition("=")
    lines = [f"objective.{each}" for each in (*CASES[line], line)]
    COMPOSER.parse(lines)
    config = COMPOSER.config([*SMALL, *lines])
    assert reduce(getattr, path.split("."), config.objective) == yaml.safe_load(value)
    assert run_id(config) != run_id(COMPOSER.config(list(SMALL)))
