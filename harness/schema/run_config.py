"""The schema of a run: validate and freeze what Hydra composed from conf/. Imports no torch.

Past the schema there is no DictConfig and no second default.

Fields without a default must stand in the YAML. A field with a default was added later, or is switched off by
it: at that default it stays outside `run_id`, so adding one never renames a finished run.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from harness.records.records import BASES
from harness.schema.advantage_config import COMPARED
from harness.schema.corpus_config import Corpus
from harness.schema.data_config import DataConfig
from harness.schema.eval_config import EvalConfig
from harness.schema.explain import explain
from harness.schema.model_config import ModelConfig
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.objective_warnings import WARNINGS
from harness.schema.prompts import CHAT
from harness.schema.search_rules import SEARCH_CHECKS
from harness.schema.section import Check, Name, Positive, Section, Seed, Used, messages
from harness.schema.stage_config import StageConfig
from harness.schema.tracking_config import TrackingConfig
from harness.schema.trainer_config import RolloutConfig, TrainerConfig
from harness.schema.until_rules import UNTIL_CHECKS
from harness.schema.verl_rules import VERL_CHECKS


class ConfigError(ValueError):
    """What a user gave is wrong: one line with the field, the value and the remedy. Exit code 2."""


class RunConfig(Section):
    """Everything that a run is: one level of settings, and a section for each group of conf/."""

    study: Name
    """Folder under output_dir: the runs of one ablation."""
    output_dir: str
    """Folder of all results."""
    seed: Seed
    """Seed of everything but the base: added weights, data order, sampling, evaluation."""
    base_seed: Seed
    """Seed of a from-scratch base; base_seed=${seed} gives each seed a base of its own."""
    replicate: Seed
    """Changes data order and sampling alone; two runs that differ in it are an A/A pair."""
    corpus: Corpus
    """What a from-scratch base is pretrained on: clean (worked derivations), mixed (also bare answers and
    wrong derivations), a preset of conf/corpus/, or settings by family and level."""
    device: Literal["auto", "cpu", "cuda"]
    """Where the run computes; auto: a GPU where there is one."""
    dtype: Literal["float32", "bfloat16"]
    """Precision of forward passes; weights and optimiser states are float32."""
    threads: Positive
    """CPU threads. Part of a run's name, since sums depend on it."""
    model: ModelConfig
    """The base."""
    objective: ObjectiveConfig
    """What is optimised."""
    data: DataConfig
    """The problems."""
    rollout: RolloutConfig
    """How training completions are sampled."""
    trainer: TrainerConfig
    """How weights are updated."""
    eval: EvalConfig
    """What is measured on the base and on each checkpoint."""
    tracking: TrackingConfig
    """Weights & Biases, TensorBoard."""
    stage: StageConfig | None = None
    """Place in a pipeline; on the command line `stage=NAME` is the last stage to run. null: no pipeline."""

    composed: ClassVar[tuple[str, ...]] = ("stage",)

    @property
    def start(self) -> str | None:
        """run_id of the stage whose last checkpoint the run begins from; None: it begins from its base."""
        return None if self.stage is None else self.stage.start

    @property
    def taught_by(self) -> str | None:
        """run_id of the stage whose last checkpoint is the run's teacher; None: no stage is."""
        return None if self.stage is None else self.stage.teacher

    @property
    def waits_for(self) -> tuple[str, ...]:
        """run_ids of the stages whose last checkpoints the run reads."""
        return tuple(name for name in (self.start, self.taught_by) if name is not None)

    @property
    def num_stages_before(self) -> int:
        """Stages that were trained before this run."""
        return 0 if self.stage is None else self.stage.index - 1

    @property
    def measured_data(self) -> DataConfig:
        """The problems whose splits are measured and whose families a from-scratch base is pretrained on."""
        own = None if self.stage is None else self.stage.data
        return self.data if own is None else own

    @property
    def templates(self) -> set[str]:
        """Every template that training or evaluation uses."""
        others = {b.template for b in self.eval.benchmarks if b.template is not None}
        return {self.data.template, self.measured_data.template, *self.eval.base_templates, *others}

    @property
    def trains_reward_model(self) -> bool:
        """Whether the base is sampled for a reward model, in training or evaluation."""
        objective = self.objective
        learned = (objective.reward_model, objective.process_reward_model)
        return any(model is not None for model in learned) or bool(self.eval.reward_models)

    @property
    def old_is_sampler(self) -> bool:
        """Whether the old policy of ratios is the one that sampled, steps ago, with the engine's logprobs."""
        return self.rollout.lag > 0 and self.objective.tis is None

    @property
    def _num_fresh(self) -> int:
        """Problems that the steps sample where none may come twice; 0 where they may."""
        return self.trainer.steps * self.rollout.prompts_per_step if self.data.fresh else 0

    @property
    def _taken_benchmark(self) -> str | None:
        """The first benchmark with the name of one of the data's own tasks."""
        own = {f"{self.measured_data.dataset}_{split}" for split in self.eval.splits}
        return min(own & {b.name for b in self.eval.benchmarks}, default=None)

    @property
    def _too_long(self) -> tuple[str, int] | None:
        """The first section whose completions fill all of the model's positions, and their length."""
        limits = {"rollout": self.rollout.max_new_tokens, "eval": self.eval.max_new_tokens}
        limits |= {f"eval.benchmarks.{b.name}": b.max_new_tokens for b in self.eval.benchmarks}
        dims = self.model.dims
        return next(
            (item for item in limits.items() if dims and item[1] >= dims.max_position_embeddings), None
        )

    @property
    def _chat(self) -> str | None:
        """The first chat template, where the model has none of its own."""
        return min(self.templates & CHAT, default=None) if self.model.is_ladder else None

    @property
    def _pretrains_teacher(self) -> bool:
        teacher = self.objective.teacher
        return teacher is not None and teacher.pretrain_steps is not None and teacher.model is None

    checks: ClassVar[tuple[Check[RunConfig], ...]] = (
        Check(
            lambda c: c.study == BASES,
            "study={c.study} is where bases are kept; choose another name",
        ),
        Check(
            lambda c: c.rollout.top_p != 1 or c.rollout.top_k != 0,
            "rollout.top_p={c.rollout.top_p:g}, rollout.top_k={c.rollout.top_k}: set top_p=1 and top_k=0; "
            "logprobs of a truncated distribution are not the policy's, so the gradient would be biased",
        ),
        Check(
            lambda c: c.rollout.group_size == 1 and c.objective.advantage.fn in COMPARED,
            "rollout.group_size=1 with objective.advantage.fn={c.objective.advantage.fn}: one sample "
            "has no group to compare with; use group_size >= 2 or advantage.fn=raw_reward",
        ),
        Check(
            lambda c: (c.objective.advantage.k or 0) > c.rollout.group_size,
            "objective.advantage.k={c.objective.advantage.k} exceeds rollout.group_size="
            "{c.rollout.group_size}; lower k",
        ),
        Check(
            lambda c: c.rollout.group_size == 1 and c.objective.selection.fn == "dynamic",
            "rollout.group_size=1 with objective.selection.fn=dynamic: one sample never differs from "
            "itself, so nothing would be kept; use group_size >= 2 or selection.fn=all",
        ),
        Check(
            lambda c: (c.objective.reward.overlong_buffer or 0) > c.rollout.max_new_tokens,
            "objective.reward.overlong_buffer={c.objective.reward.overlong_buffer} exceeds "
            "rollout.max_new_tokens={c.rollout.max_new_tokens}; lower it",
        ),
        Check(
            lambda c: (
                c.objective.updates.minibatches > c.rollout.prompts_per_step
                and not c.objective.uses_references
            ),
            "objective.updates.minibatches={c.objective.updates.minibatches} exceeds "
            "rollout.prompts_per_step={c.rollout.prompts_per_step}; a minibatch holds whole groups",
        ),
        Check(
            lambda c: c._num_fresh > (c.data.num_train or 0),
            "data.fresh with data.num_train={c.data.num_train}: trainer.steps x rollout.prompts_per_step is "
            "{c._num_fresh}; set data.num_train={c._num_fresh}, or data.fresh=false",
        ),
        Check(
            lambda c: c.data.fresh and c.objective.selection.fn == "dynamic",
            "data.fresh with objective.selection.fn=dynamic, which may draw one again; use selection.fn=all",
        ),
        Check(
            lambda c: c.objective.reward.tests and c.data.answer_rules != ["program"],
            "objective.reward.tests={c.objective.reward.tests:g} with data.answer_rules="
            "{c.data.answer_rules}: only programs have tests; use data=code, or set it 0",
        ),
        Check(
            lambda c: c.rollout.lag >= c.trainer.steps and not c.objective.offline,
            "rollout.lag={c.rollout.lag} with trainer.steps={c.trainer.steps}: no sample is new; lower it",
        ),
        Check(
            lambda c: c._pretrains_teacher and not c.model.is_ladder,
            "objective.teacher.pretrain_steps={c.objective.teacher.pretrain_steps} with model.source="
            "{c.model.source}: a model that is not made here; set it null and give teacher.path",
        ),
        Check(
            lambda c: (
                c.objective.teacher is not None and bool(c.objective.teacher.stage) != bool(c.taught_by)
            ),
            "objective.teacher.stage={c.objective.teacher.stage} without a pipeline that has such a stage; "
            "choose pipeline=NAME, or give teacher.path",
        ),
        Check(
            lambda c: c.objective.kl.reference == "untrained" and c.stage is None,
            "objective.kl.reference=untrained without a pipeline, where it is the base; use reference=base",
        ),
        Check(
            lambda c: c._taken_benchmark,
            "eval.benchmarks: {c._taken_benchmark} is one of the data's own splits; change the name",
        ),
        Check(
            lambda c: c.rollout.exact and c.trainer.lora is not None,
            "rollout.exact=true with trainer.lora: the sampler merges adapters, the trainer does not; set "
            "rollout.exact=false",
        ),
        Check(
            lambda c: c.trainer.lora is not None and c.objective.kl.refresh_every is not None,
            "objective.kl.refresh_every={c.objective.kl.refresh_every} with trainer.lora: the reference "
            "is the base without adapters and cannot move; set refresh_every=null",
        ),
        Check(
            lambda c: c._too_long,
            "{c._too_long[0]}.max_new_tokens={c._too_long[1]} leaves no room for a prompt in the model's "
            "{c.model.dims.max_position_embeddings} positions (model.dims.max_position_embeddings); lower it",
        ),
        Check(
            lambda c: c._chat,
            "template {c._chat} with model.source=ladder: no chat template; use question",
        ),
        *SEARCH_CHECKS,
        *UNTIL_CHECKS,
        *VERL_CHECKS,
    )

    used: ClassVar[tuple[Used[RunConfig], ...]] = (
        Used(
            ("corpus",),
            lambda c, run: c.model.is_ladder,
            "model={c.model.name} is pretrained already; leave it out, or use a ladder model",
        ),
        Used(
            ("base_seed",),
            lambda c, run: c.model.is_ladder,
            "model={c.model.name} is pretrained already, so every seed has the same base",
            warn=True,
        ),
    )


def config_warnings(config: RunConfig) -> list[str]:
    """Settings that run but cannot do what their names say, one message each."""
    return list(messages(WARNINGS, config.objective))


def validate(data: dict[str, Any], *, where: str = "") -> RunConfig:
    """Check and freeze. Raises ConfigError with one line: field, value, remedy."""
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where + explain(error, RunConfig)) from None
