"""The schema of an objective's teacher. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from harness.schema.model_config import ModelConfig
from harness.schema.section import Check, Name, Positive, Section


class TeacherConfig(Section):
    """Another model to learn from: a folder, a model made by the launch, or a stage of the pipeline."""

    path: str | None = None
    """Model folder in the hub's layout with its tokenizer.json. Its content, not its place, names a run."""
    model: ModelConfig | None = None
    """Model of conf/model by its name, as its base: `teacher.model=ladder_l`. The launch makes it; one from
    scratch is pretrained on the run's corpus, on the run's model's `pretrain.device`."""
    pretrain_steps: Positive | None = None
    """Pretraining steps of `model`, null: the run's own from-scratch model."""
    stage: Name | None = None
    """Earlier stage of the pipeline whose last checkpoint is the teacher; its model is `model` then."""

    composed: ClassVar[tuple[str, ...]] = ("model",)

    @property
    def _given(self) -> str:
        made = self.stage is None and (self.model is not None or self.pretrain_steps is not None)
        given = ["path"] * (self.path is not None) + ["model, pretrain_steps"] * made
        given += ["stage"] * (self.stage is not None)
        return " and ".join(given)

    @property
    def named(self) -> str:
        """The teacher as a user gives it."""
        model = None if self.model is None else self.model.name
        return str(self.path or self.stage or model or self.pretrain_steps)

    checks: ClassVar[tuple[Check[TeacherConfig], ...]] = (
        Check(
            lambda c: c._given == "",
            "path, model, pretrain_steps, stage: none is given; name a model folder, a model of conf/model, "
            "or a stage",
        ),
        Check(
            lambda c: " and " in c._given,
            "{c._given} are given: they are two teachers; leave one out (path=null)",
        ),
        Check(
            lambda c: c.pretrain_steps is not None and c.stage is not None,
            "pretrain_steps={c.pretrain_steps} with stage={c.stage}, whose model has its own; leave it out",
        ),
        Check(
            lambda c: c.pretrain_steps is not None and c.model is not None and not c.model.is_ladder,
            "pretrain_steps={c.pretrain_steps} with model={c.model.name}, which is pretrained already; "
            "leave it out",
        ),
    )
