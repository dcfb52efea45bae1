"""Slots that do not go together are one line, before any model is loaded; what cannot act is a warning."""

from __future__ import annotations

import re

import pytest

from harness.identity import run_id
from harness.launch.compose import Composer
from harness.schema.run_config import ConfigError, config_warnings
from tests.unit.harness.tiny import SMALL

COMPOSER = Composer()
FOLDER = ("model=folder", "model.path=/a", "model.name=a", "model.pretrain=null", "model.dims=null")


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        COMPOSER.config([*SMALL, *overrides])
    text = str(caught.value)
    assert "\n" not in text and text.startswith(("objective", "rollout"))
    return text


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["objective.kl.reference=null"], ["kl.coef=0.04 with kl.reference=null", "set reference=base"]),
        (
            ["objective.advantage=rloo"],
            ["objective.advantage=rloo: it holds settings of its own; set objective.advantage.fn"],
        ),
        (["objective.kl=null"], ["objective.kl=null: it holds settings of its own"]),
        (["objective.advantage.fn=group_normalised"], ["did you mean group_normalized"]),
        (["objective.loss.fn=ppo_klip"], ["did you mean ppo_clip?"]),
        (["objective.kl.estimator=k4"], ["not one of k1, k2, k3, exact"]),
        (["objective.reduce=token_sum"], ["did you mean", "token_mean"]),
        (["objective.ratio=tokens"], ["did you mean token?"]),
        (["objective.loss.clip_low=0"], ["objective.loss.clip_low=0", "greater than 0"]),
        (["objective.loss.clip_high=-0.2"], ["objective.loss.clip_high=-0.2", "greater than 0"]),
        (["objective.loss.clip_low=null"], ["fn=ppo_clip needs clip_low and clip_high", "0.2"]),
        (["objective=pg", "objective.loss.clip_low=0.2"], ["mean nothing to fn=policy_gradient", "set null"]),
        (["objective=cispo", "objective.loss.dual_clip=3"], ["dual_clip=3 means nothing to fn=cispo"]),
        (
            ["objective=pg", "objective.advantage.std=sample"],
            ["std=sample means nothing to fn=group_centered"],
        ),
        (
            ["objective.advantage.std=none"],
            ["eps=1e-06 means nothing to fn=group_normalized with std=none; set eps=0"],
        ),
        (["rollout.group_size=1"], ["rollout.group_size=1", "use group_size >= 2"]),
        (["objective=dapo", "rollout.group_size=1"], ["rollout.group_size=1"]),
        (["objective=rloo", "rollout.group_size=1"], ["objective.advantage.fn=rloo", "group_size >= 2"]),
        (["objective=pg", "objective.kl.refresh_every=2"], ["refresh_every=2 with no reference in use"]),
        (["objective=ppo", "objective.kl.refresh_every=2"], ["refresh_every=2 with no reference in use"]),
        (["objective=pg", "objective.kl.target=0.1"], ["target=0.1 with coef=0", "start with coef=1"]),
        (["objective.kl.horizon=100"], ["horizon=100 means nothing without target"]),
        (["objective=ppo", "objective.kl.placement=reward"], ["placement=reward with against=old"]),
        (["objective=ppo", "objective.kl.estimator=exact"], ["estimator=exact with against=old", "use k3"]),
        (
            ["objective=sft_rejection_offline", "objective.advantage.fn=group_centered"],
            ["advantage.fn=group_centered with offline", "use accepted_only"],
        ),
        (
            ["objective=max_rl", "objective.truncated=fail", "objective.fail_reward=-1"],
            ["advantage.fn=max_rl needs rewards >= 0", "fail_reward"],
        ),
        (["objective=max_rl", "objective.reward.accuracy=-1"], ["max_rl needs rewards >= 0"]),
        (["objective.kl.coef=-1"], ["objective.kl.coef=-1", "greater than or equal to 0"]),
        (
            ["objective=sft_rejection", "objective.kl.coef=0.1", "objective.kl.placement=reward"],
            ["kl.placement=reward with samples accepted", "use kl.placement=loss"],
        ),
        (
            ["objective.advantage.fn=gae", "objective.advantage.std=none", "objective.advantage.eps=0"],
            ["gae without a value model"],
        ),
        (
            ["objective=ppo", "objective.advantage.fn=group_centered"],
            ["a value model that advantage.fn=group_centered does not ask for", "value=null"],
        ),
        (
            ["objective=ppo", "objective.value.gamma=1.1"],
            ["objective.value.gamma=1.1", "less than or equal to 1"],
        ),
        (["objective=ppo", "objective.value.lamda=1"], ["no setting objective.value.lamda"]),
        (["objective.selection.fn=dynamic"], ["max_sampled=null with fn=dynamic", "max_sampled=3"]),
        (["objective.selection.max_sampled=3"], ["max_sampled=3 means nothing to fn=all"]),
        (["objective.selection.cap_per_problem=3"], ["cap_per_problem and dedupe mean nothing to fn=all"]),
        (["objective.selection.by=accuracy"], ["by=accuracy means nothing to fn=all"]),
        (
            ["objective.advantage.fn=rloo"],
            ["std=sample means nothing to fn=rloo; set none, and eps=0"],
        ),
        (
            ["objective=dr_grpo", "objective.advantage.eps=1e-6"],
            ["eps=1e-06 means nothing to fn=group_centered", "set eps=0"],
        ),
        (
            ["objective=grpo_process", "objective.advantage.std=none"],
            ["eps=1e-06 means nothing to fn=process with std=none"],
        ),
        (
            ["objective.advantage.threshold=0.5"],
            ["threshold=0.5 means nothing to advantage.fn=group_normalized", "selection.fn=accepted"],
        ),
        (["objective=pg", "objective.reward.accuracy=0"], ["every weight is 0", "set reward.accuracy=1"]),
        (
            ["objective=ppo", "objective.reward.accuracy=0"],
            ["every weight is 0"],  # KL(old || policy) alone holds still what does not move
        ),
        (
            ["objective=sft_rejection_offline", "objective.reward.accuracy=0"],
            ["advantage.threshold=0 with every reward weight 0", "threshold=-1"],
        ),
        (
            ["objective=grpo_process", "objective.reward.accuracy=0", "objective.truncated=fail"],
            ["truncated=fail with step rewards alone", "set reward.accuracy=1"],
        ),
        (
            [
                "objective=grpo_process",
                "objective.reward.accuracy=0",
                "objective.selection.fn=dynamic",
                "objective.selection.max_sampled=3",
            ],
            ["selection.by=reward with step rewards alone"],
        ),
        (
            ["objective=ppo", "objective.selection.fn=accepted"],
            ["selection.fn=accepted with advantage.fn=gae"],
        ),
        (
            ["objective=reinforce_pp", "objective.selection.fn=accepted"],
            ["selection.fn=accepted with advantage.fn=reinforce_pp"],
        ),
        (
            ["objective=sft_rejection_offline", "objective.offline.form=equations"],
            ["form=equations, format=plain mean nothing to sampler=base", "use sampler=reference"],
        ),
        (
            ["objective=distill", "objective.teacher.path=/a", "objective.offline.format=r1"],
            ["form=natural, format=r1 mean nothing to sampler=teacher"],
        ),
        (["objective=cold_start", "objective.offline.sampler=refrence"], ["did you mean reference?"]),
        (["objective=cold_start", "objective.advantage.fn=rloo"], ["advantage.fn=rloo with offline"]),
        (
            ["objective.reward.target_script=thai"],
            ["target_script=thai means nothing with language_consistency=0"],
        ),
        (["objective=pg", "objective.ratio=sequence"], ["ratio=sequence means nothing to loss.fn=policy"]),
        (["objective=sft_rejection", "objective.ratio=sequence_mean"], ["means nothing to loss.fn=nll"]),
        (
            ["objective.advantage.sign=negative", "objective.reduce_over=accepted"],
            ["sign=negative with reduce_over=accepted"],
        ),
        (
            [
                "objective=sft_rejection_offline",
                "objective.selection.fn=all",
                "objective.selection.cap_per_problem=null",
                "objective.selection.dedupe=false",
            ],
            ["selection.fn=all with offline", "use accepted"],
        ),
        (
            ["objective=sft_rejection_offline", "objective.reduce_over=all"],
            ["reduce_over=all with offline", "use accepted"],
        ),
        (
            ["objective=sft_rejection_offline", "objective.updates.minibatches=65"],
            ["objective.updates.minibatches=65 exceeds"],
        ),
        (["objective.fail_reward=-1"], ["fail_reward=-1 means nothing with truncated=keep"]),
        (["objective.reward.random_p=0.2"], ["random_p=0.2 means nothing with random=0"]),
        (["objective.reward.overlong_buffer=4"], ["overlong_buffer=4 means nothing with soft_overlong=0"]),
        (
            ["objective=dapo", "objective.reward.overlong_buffer=99"],
            ["objective.reward.overlong_buffer=99 exceeds rollout.max_new_tokens=24"],
        ),
        (["objective.reward.model=1"], ["reward.model=1 without reward_model", "rlhf_ppo.yaml"]),
        (["objective=rlhf_ppo", "objective.reward.model=0"], ["reward.model=0 with reward_model"]),
        (["objective.reward.steps=1"], ["reward.steps=1 with advantage.fn=group_normalized"]),
        (
            ["objective=grpo_process", "objective.reward.steps=0"],
            ["reward.steps=0 with advantage.fn=process"],
        ),
        (
            ["objective=grpo_process", "objective.kl.placement=reward"],
            ["process takes no kl.placement=reward"],
        ),
        (
            [
                "objective=rloo",
                "objective.truncated=mask",
                "objective.kl.placement=reward",
                "objective.kl.coef=0.05",
            ],
            ["truncated=mask with kl.placement=reward and advantage.fn=rloo", "set truncated=keep"],
        ),
        (["objective=distill"], ["objective.teacher.path", "give it on the command line"]),
        (["objective=distill", "objective.teacher=null"], ["offline.sampler=teacher without one"]),
        (["objective.teacher.path=/a/model"], ["teacher=/a/model: nothing asks for one"]),
        (
            ["objective=distill", "objective.teacher={path: null}"],
            ["objective.teacher", "path, model, pretrain_steps, stage: none is given"],
        ),
        (
            ["objective=distill", "objective.teacher={path: /a, pretrain_steps: 9}"],
            ["path and model, pretrain_steps are given: they are two teachers"],
        ),
        (
            ["objective=distill", "objective.teacher.stage=rl"],
            ["objective.teacher.stage=rl without a pipeline that has such a stage"],
        ),
        (
            [
                "objective=distill",
                "objective.teacher.model=smollm2_135m",
                "objective.teacher.pretrain_steps=9",
            ],
            ["pretrain_steps=9 with model=smollm2_135m, which is pretrained already; leave it out"],
        ),
        (
            ["objective=distill", "objective.teacher.model=ladder_q"],
            ["objective.teacher.model=ladder_q: no such preset in conf/model; did you mean ladder_"],
        ),
        (
            ["objective=distill", "objective.teacher={path: null, pretrain_steps: 9}", *FOLDER],
            ["objective.teacher.pretrain_steps=9 with model.source=folder", "give teacher.path"],
        ),
        (["objective.kl.reference=teacher"], ["kl.reference=teacher without one"]),
        (
            ["objective.kl.reference=teacher", "objective.kl.coef=0", "objective.teacher.path=/a/model"],
            ["reference=teacher needs coef above 0"],
        ),
        (["objective.tis.cap=0", "objective.tis.level=token"], ["objective.tis.cap=0", "greater than 0"]),
        (["objective.tis={cap: 2, level: token, floor: 0.5}"], ["floor=0.5", "set outside=drop"]),
        (["objective.tis={cap: 2, level: token, outside: drop, floor: 1}"], ["floor=1 drops", "below 1"]),
        (["objective.tis={cap: 1, level: token, outside: drop}"], ["cap=1 with outside=drop", "above 1"]),
        (["objective.advantage.k=2"], ["k=2 means nothing to fn=group_normalized"]),
        (["objective=pass_k", "objective.advantage.k=null"], ["k=null with fn=pass_at_k", "k=4"]),
        (["objective=pass_k", "objective.advantage.std=sample"], ["std=sample with fn=pass_at_k"]),
        (["objective=pass_k", "objective.advantage.k=99"], ["k=99 exceeds rollout.group_size=", "lower k"]),
        (["objective.advantage.positive_weight=-1"], ["positive_weight=-1", "greater than or equal to 0"]),
        (
            ["objective.advantage.positive_weight=0", "objective.advantage.negative_weight=0"],
            ["positive_weight=0, negative_weight=0", "no advantage is left"],
        ),
        (
            ["objective.advantage.sign=negative", "objective.advantage.positive_weight=0.1"],
            ["positive_weight=0.1 means nothing with sign=negative"],
        ),
        (
            ["objective.advantage.sign=positive", "objective.advantage.negative_weight=0.1"],
            ["negative_weight=0.1 means nothing with sign=positive"],
        ),
        (
            ["objective=sft_rejection", "objective.advantage.positive_weight=0.1"],
            ["positive_weight=0.1", "fn=accepted_only", "trainer.lr"],
        ),
        (["objective.advantage.entropy_share=1"], ["entropy_share=1", "less than 1"]),
        (["objective.loss.tau_low=1"], ["tau_low, tau_high mean nothing to fn=ppo_clip"]),
        (["objective=sapo", "objective.loss.tau_high=null"], ["fn=sapo needs tau_low and tau_high"]),
        (["objective=gmpo", "objective.ratio=sequence"], ["ratio=sequence with loss.fn=gmpo", "set token"]),
        (
            ["objective=gmpo", "objective.loss.clip_low=null"],
            ["fn=gmpo needs clip_low and clip_high"],
        ),
        (
            ["objective.kl.ratio_weighted=true", "objective.kl.estimator=k2"],
            ["ratio_weighted with estimator=k2", "use k3"],
        ),
        (
            ["objective.kl.ratio_weighted=true", "objective.kl.placement=reward"],
            ["ratio_weighted with against=ref, placement=reward"],
        ),
        (["objective.entropy_coef=-0.1"], ["entropy_coef=-0.1", "greater than or equal to 0"]),
        (
            ["objective=sft_rejection_offline", "objective.tis.cap=2", "objective.tis.level=token"],
            ["tis with offline", "set tis=null"],
        ),
    ],
)
def test_slots_that_do_not_fit(overrides: list[str], parts: list[str]) -> None:
    try:
        COMPOSER.parse(overrides)
    except ConfigError as error:  # a name that is in no schema is found before composing
        text = str(error)
    else:
        text = message(*overrides)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["objective.updates.minibatches=1"], ["the clip can never bind"]),
        (["objective=dapo"], []),
        (["objective.loss.clip_low=1"], ["the lower clip can never bind"]),
        (["objective=cispo"], []),  # open on that side as in its paper
        (["objective.kl.estimator=k1"], ["k1 as a loss has an expected gradient of zero"]),
        (
            [
                "objective=rloo",
                "objective.kl.coef=1",
                "objective.kl.placement=reward",
                "objective.kl.estimator=k1",
            ],
            [],
        ),
        (["objective=ppo"], []),
        (["objective=ppo", "objective.kl.estimator=k1"], []),  # log pi_old / pi: the gradient is exact
        (["objective.reward.accuracy=0"], ["every weight is 0 and the policy starts at the reference"]),
        (
            ["objective=sft_rejection", "objective.advantage.fn=group_centered"],
            ["nll with advantage.fn=group_centered: it trains on outputs with a positive advantage"],
        ),
        (
            ["objective=ppo", "objective.updates.minibatches=1"],
            ["the clip can never bind", "KL(old || policy) has no gradient", "objective.value.clip"],
        ),
        (
            ["objective=ppo", "objective.ratio=sequence"],
            ["(advantage.fn=gae): the clip is taken token by token", "use reduce=sequence_mean"],
        ),
        (["objective=ppo_kl", "objective.ratio=sequence_mean"], []),  # no clip: r A_t averages to r times A's
        (["objective=grpo_process", "objective.ratio=sequence_mean"], ["(advantage.fn=process): the clip"]),
        (["objective=reinforce_pp", "objective.ratio=sequence_mean"], []),  # one advantage an output
        (
            [
                *("objective=reinforce_pp", "objective.ratio=sequence_mean", "objective.kl.placement=reward"),
                *("objective.kl.estimator=k1", "objective.kl.coef=0.01"),
            ],
            ["(advantage.fn=reinforce_pp): the clip is taken token by token"],
        ),
    ],
)
def test_warnings(overrides: list[str], parts: list[str]) -> None:
    found = config_warnings(COMPOSER.config([*SMALL, *overrides]))
    assert len(found) == len(parts)
    for text, part in zip(found, parts, strict=True):
        assert part in text


def test_an_objective_is_named_after_its_file() -> None:
    for name in COMPOSER.options("objective"):
        teacher = ["objective.teacher.path=/a/model"] if name.startswith("distill") else []
        config = COMPOSER.config([f"objective={name}", *teacher])
        assert config.objective.name == name and config_warnings(config) == []


def test_new_slots_at_their_defaults_do_not_rename_a_run() -> None:
    plain = run_id(COMPOSER.config(["experiment=smoke"]))
    off = [
        "tis=null",
        "value=null",
        "truncated=keep",
        "fail_reward=0",
        "kl.against=ref",
        "kl.target=null",
        "kl.refresh_every=null",
        "reward.random_p=0.5",
        "selection.by=reward",
    ]
    assert run_id(COMPOSER.config(["experiment=smoke", *(f"objective.{line}" for line in off)])) == plain
    assert re.fullmatch(r"grpo-ladder_xs-s0-[0-9a-f]{8}", plain)
    on = ["tis={cap: 2.0, level: token}", "truncated=fail", "kl.refresh_every=4"]
    names = {run_id(COMPOSER.config(["experiment=smoke", f"objective.{line}"])) for line in on}
    assert len(names | {plain}) == 4
