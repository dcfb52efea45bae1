"""The learned rewards that a training run's objective asks for."""

from __future__ import annotations

from harness.reward_models.process_reward_model import process_reward_model
from harness.reward_models.reward_model import reward_model
from harness.training.run_state import Run


def add_reward_models(run: Run) -> None:
    """Give the run its outcome and process reward models: loaded from its folder, or fitted now."""
    if run.config.objective.reward_model is not None:
        run.learned_rewards.output = reward_model(run)
    if run.config.objective.process_reward_model is not None:
        run.learned_rewards.steps = process_reward_model(run)
