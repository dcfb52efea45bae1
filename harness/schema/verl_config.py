"""The schema of trainer.verl: on how many GPUs verl trains one run, and where. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.schema.section import Check, Positive, Section


class VerlConfig(Section):
    """Machines of trainer.engine=verl. They change rounding alone, so none of it is in a run's name."""

    nodes: Positive = 1
    """Nodes of the Ray cluster that verl trains on."""
    gpus: Positive = 8
    """GPUs of each node."""
    tensor_parallel: Positive = 1
    """GPUs that share each sampler (vLLM)."""
    sequence_parallel: Positive = 1
    """GPUs that share each sequence in training (Ulysses)."""
    attention: Literal["flash_attention_2", "varlen"] = "flash_attention_2"
    """transformers' attention in training: varlen is PyTorch's own kernel, and needs no flash-attn."""
    offload: bool = False
    """Keep weights and optimiser states in the nodes' memory while the sampler works."""
    memory: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of a GPU's memory for the sampler's weights and cache."""
    python: str | None = None
    """Python of the environment that verl is installed in; null: the one that runs this."""
    ray: str | None = None
    """Address of a running Ray cluster, such as auto; null: verl starts one on this machine."""

    @property
    def num_gpus(self) -> int:
        """GPUs of all nodes, ranks of training."""
        return self.nodes * self.gpus

    checks: ClassVar[tuple[Check[VerlConfig], ...]] = (
        Check(
            lambda c: c.gpus % c.tensor_parallel,
            "tensor_parallel={c.tensor_parallel} does not divide gpus={c.gpus}; choose a divisor",
        ),
        Check(
            lambda c: c.num_gpus % c.sequence_parallel,
            "sequence_parallel={c.sequence_parallel} does not divide the {c.num_gpus} GPUs of nodes x gpus; "
            "choose a divisor",
        ),
        Check(
            lambda c: c.attention == "varlen" and c.sequence_parallel > 1,
            "attention=varlen with sequence_parallel={c.sequence_parallel}: verl splits sequences "
            "for flash-attn alone; use flash_attention_2, or sequence_parallel=1",
        ),
        Check(
            lambda c: c.nodes > 1 and c.ray is None,
            "nodes={c.nodes} with ray=null: a Ray started here has this node alone; start Ray on every node "
            "and set ray=auto",
        ),
    )
