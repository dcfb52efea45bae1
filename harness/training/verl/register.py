"""Enter an objective's functions into verl's registries, and an attention into transformers'.

verl imports this in each of its processes.
"""

from verl.trainer.ppo.core_algos import register_adv_est, register_policy_loss

from harness.training.verl import attention  # noqa: F401
from harness.training.verl.slots import NAME, advantages, loss

register_adv_est(NAME)(advantages)
register_policy_loss(NAME)(loss)
