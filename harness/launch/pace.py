"""Stated rates of a device: a first idea of what a run takes before any has finished. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from harness.launch.workload import TYPICAL_LENGTH
from harness.model.dims import ModelDims, num_parameters
from harness.schema.model_config import ModelConfig

REFERENCE_SIZE = 0.18e6  # parameters of the smallest model, of which the rates are
FULL = 10e6 / REFERENCE_SIZE  # from here on the arithmetic takes the time, and it grows with the size
USUAL_OUTPUT = 200  # tokens in which a pretrained model answers, where the limit leaves room


@dataclass(frozen=True)
class Pace:
    """Stated rates of a device: tokens/s at REFERENCE_SIZE, falling with a power of the parameters' number.

    They order runs and give a first idea of the time; finished runs of the shape replace them. `fixed` are
    seconds of a run's set-up, checks, checkpoints and records, `million` further ones for each million
    parameters, `step` those of a step whatever its size. With `fills` the power is 1 above 10M parameters.
    """

    name: str
    sample: float
    sample_power: float
    train: float
    train_power: float
    step: float
    fixed: float
    million: float = 0.0
    fills: bool = False

    def rates(self, dims: ModelDims | None) -> tuple[float, float]:
        """Tokens a second of sampling and of training a model of this shape."""
        size = 1.0 if dims is None else num_parameters(dims) / REFERENCE_SIZE
        small = min(size, FULL) if self.fills else size
        beyond = size / small
        return (
            self.sample * small**-self.sample_power / beyond,
            self.train * small**-self.train_power / beyond,
        )

    def load(self, dims: ModelDims | None) -> float:
        """Seconds to load, check and save a model of this shape, beyond `fixed`."""
        return 0.0 if dims is None else self.million * num_parameters(dims) / 1e6


# Measured on the ladder (0.2M to 10M), and on SmolLM2-135M: 97 tokens/s sampled, 55 trained, on a slow core.
THREAD = Pace("one CPU thread", 43e3, 0.70, 21e3, 0.74, step=0.03, fixed=3.0, million=0.5, fills=True)
# An H100, from the committed runs of 0.2M to 135M parameters: these are far too small to fill one, so that
# tokens cost about the same whatever the size; larger models get too low a price.
GPU = Pace("one GPU", 80e3, 0.10, 60e3, 0.0, step=0.1, fixed=5.0)


def typical_share(longest: int, model: ModelConfig) -> float:
    """Mean length of outputs as a share of the longest allowed: a pretrained model needs some tokens."""
    if model.source == "ladder":
        return TYPICAL_LENGTH
    return min(1.0, max(TYPICAL_LENGTH, USUAL_OUTPUT / longest))
