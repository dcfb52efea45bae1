"""What trainer.engine=verl can express of a run (verl 0.9.1): what is refused, and what differs. No torch.

There an objective's advantage, ratio and loss are this project's own functions (harness/training/verl), and
so is its reward. verl itself adds the KL to the reference, reduces, clips and steps. It gives a loss no
reference logprobs, an estimator no finish reasons, and a sample no seed of its own.
"""

from __future__ import annotations

from typing import Any

from harness.schema.section import Check, messages

_NATIVE = "or trainer.engine=native"


def _on(c: Any) -> bool:
    return bool(c.trainer.engine == "verl")


def _refuse(when: Any, message: str) -> Check[Any]:
    """Refuse what `when` finds, where verl trains; the message goes on after the engine's name."""
    return Check(lambda c: _on(c) and when(c), f"trainer.engine=verl with {message}, {_NATIVE}")


def _models(name: str) -> Check[Any]:
    return _refuse(
        lambda c: getattr(c.objective, name) is not None,
        f"objective.{name}: only the policy is trained there, on its own samples; set it null",
    )


def _functions(slot: str) -> Check[Any]:
    return _refuse(
        lambda c: getattr(c.objective, slot).custom is not None,
        f"objective.{slot}.custom: your functions are not carried over; use one of this project's",
    )


def _selects_otherwise(c: Any) -> bool:
    """Whether accepted samples are more than an advantage of 1 or 0."""
    slot = c.objective.selection
    whole = c.objective.advantage.fn == "accepted_only" and slot.cap_per_problem is None and not slot.dedupe
    return slot.fn == "accepted" and not whole


def _rows(c: Any) -> int:
    """Samples of an optimiser step."""
    return int(c.rollout.prompts_per_step * c.rollout.group_size // c.objective.updates.minibatches)


def _groups(c: Any) -> int:
    """GPU groups among which the samples of an optimiser step are dealt out."""
    return int(c.trainer.verl.num_gpus // c.trainer.verl.sequence_parallel)


VERL_CHECKS: tuple[Check[Any], ...] = (
    _refuse(lambda c: c.device == "cpu", "device=cpu: it trains on GPUs alone; set device=cuda"),
    _refuse(
        lambda c: c.dtype != "bfloat16",
        "dtype={c.dtype}: its attention computes in half precision; set dtype=bfloat16",
    ),
    *map(_models, ("value", "reward_model", "process_reward_model", "teacher", "offline")),
    *map(_functions, ("reward", "advantage", "loss")),
    _refuse(
        lambda c: c.objective.advantage.fn == "process",
        "objective.advantage.fn=process: it knows no steps; use another advantage",
    ),
    _refuse(
        lambda c: c.objective.advantage.entropy_share is not None,
        "objective.advantage.entropy_share: an estimator gets no entropies; set it null",
    ),
    _refuse(
        lambda c: c.objective.reward.random,
        "objective.reward.random: a reward there does not know its sample's number; set it 0",
    ),
    _refuse(
        lambda c: c.objective.kl.coef and c.objective.kl.estimator == "exact",
        "objective.kl.estimator=exact: it has no KL over the vocabulary; use k1, k2 or k3",
    ),
    _refuse(
        lambda c: c.objective.kl.ratio_weighted,
        "objective.kl.ratio_weighted: its KL is not weighted; set it false",
    ),
    _refuse(
        lambda c: c.objective.kl.target is not None,
        "objective.kl.target={c.objective.kl.target:g}: its coefficient adapts by another rule; set it null",
    ),
    _refuse(
        lambda c: c.objective.kl.refresh_every is not None,
        "objective.kl.refresh_every={c.objective.kl.refresh_every}: its reference never changes; set it null",
    ),
    _refuse(
        lambda c: c.objective.kl.uses_reference and c.objective.kl.reference != "base",
        "objective.kl.reference={c.objective.kl.reference}: its reference is what training begins from; use "
        "base",
    ),
    _refuse(
        lambda c: c.objective.reduce_over != "all",
        "objective.reduce_over={c.objective.reduce_over}: it counts the denominator before it knows any "
        "advantage; use all",
    ),
    _refuse(
        lambda c: c.objective.truncated in ("mask", "drop"),
        "objective.truncated={c.objective.truncated}: an estimator gets no finish reasons; use keep or fail",
    ),
    _refuse(
        _selects_otherwise,
        "objective.selection.fn=accepted beyond advantage.fn=accepted_only without cap_per_problem and "
        "dedupe: it trains on every sample; use selection.fn=all",
    ),
    _refuse(
        lambda c: c.objective.selection.fn == "dynamic",
        "objective.selection.fn=dynamic: it refills with other problems, and what it drops reaches no "
        "record; use selection.fn=all",
    ),
    _refuse(
        lambda c: c.objective.tis is not None and c.objective.tis.level == "sequence_mean",
        "objective.tis.level=sequence_mean: it weighs tokens or whole outputs; use token or sequence",
    ),
    _refuse(
        lambda c: c.objective.tis is not None and c.objective.tis.outside == "drop",
        "objective.tis.outside=drop: not compared with it; use cap",
    ),
    _refuse(lambda c: c.objective.fp32_head, "objective.fp32_head: its head is bfloat16; set it false"),
    _refuse(
        lambda c: c.rollout.lag,
        "rollout.lag={c.rollout.lag}: its lag is not a fixed number of steps; set it 0",
    ),
    _refuse(lambda c: c.rollout.search is not None, "rollout.search: it has none; set it null"),
    _refuse(lambda c: c.rollout.step_metrics, "rollout.step_metrics: not measured there; set it false"),
    _refuse(lambda c: c.trainer.lora is not None, "trainer.lora: not carried over; set it null"),
    _refuse(
        lambda c: c.trainer.optimizer != "adamw",
        "trainer.optimizer={c.trainer.optimizer}: not carried over; use adamw, and trainer.verl.offload=true "
        "where memory is short",
    ),
    _refuse(
        lambda c: c.trainer.schedule == "linear",
        "trainer.schedule=linear: it has constant and cosine; use one of these",
    ),
    _refuse(
        lambda c: c.rollout.prompts_per_step % c.objective.updates.minibatches,
        "objective.updates.minibatches={c.objective.updates.minibatches}, which does not divide "
        "rollout.prompts_per_step={c.rollout.prompts_per_step}: its minibatches are equal; choose a divisor",
    ),
    _refuse(
        lambda c: _rows(c) % _groups(c),
        "trainer.verl.nodes={c.trainer.verl.nodes}, gpus={c.trainer.verl.gpus}: the samples of an optimiser "
        "step (prompts_per_step x group_size / minibatches) do not divide evenly among the GPUs; change "
        "rollout.prompts_per_step",
    ),
)

# What a run on verl does otherwise than this project's own trainer, and what follows for its numbers.
UNMATCHED: tuple[Check[Any], ...] = (
    Check(
        lambda c: True,
        "seeds: verl's sampler has one seed and not one a sample, so runs of a seed share their problems and "
        "no random numbers in sampling: paired intervals are wider, and no run repeats to the bit",
    ),
    Check(
        lambda c: True,
        "not measured: kept_* (what is left of the base) and sampler_trainer_kl (is the sampler up to date)",
    ),
    Check(
        lambda c: c.objective.kl.coef and c.objective.kl.estimator == "k3" and c.objective.kl.uses_reference,
        "objective.kl: verl clamps k3 to 10 a token, without a gradient beyond; equal where the reference's "
        "logprob is at most 2.6 nats above the policy's and 11 below it",
    ),
    Check(
        lambda c: c.objective.updates.minibatches > 1,
        "objective.updates.minibatches: which groups share one is verl's choice; the sum over them is equal",
    ),
    Check(
        lambda c: c.trainer.warmup_steps or c.trainer.schedule != "constant",
        "trainer.warmup_steps, schedule: verl's rate moves once a rollout batch, not once an optimiser step, "
        "and its first warm-up step has rate 0",
    ),
    Check(
        lambda c: c.trainer.weight_decay,
        "trainer.weight_decay: verl decays norms and biases too",
    ),
)


def unmatched(config: Any) -> list[str]:
    """What this run does otherwise on verl than on the native engine; [] where it does not run on verl."""
    return list(messages(UNMATCHED, config)) if _on(config) else []
