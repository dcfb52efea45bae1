"""The reward manager that verl loads: hands each output's tokens to `Scorer`. Imports verl."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from harness.training.verl.scoring import Scorer
from harness.training.verl.slots import CONFIG, run_config


class RewardManager(RewardManagerBase):
    """Rewards by the tokens themselves, so that an output's length and how it ended are known."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        start = Path(config.actor_rollout_ref.model.path)
        self.scorer = Scorer(run_config(), Path(os.environ[CONFIG]).parent, start)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Score the last row of `data`, as verl's own managers do."""
        item = data[-1]
        responses, mask = item.batch["responses"], item.batch["attention_mask"]
        num_prompt, num_tokens = len(mask) - len(responses), int(mask[-len(responses) :].sum())
        info, tokens = item.non_tensor_batch["extra_info"], responses[:num_tokens].tolist()
        given = int(mask[:num_prompt].sum())
        reward = await self.loop.run_in_executor(
            None, self.scorer.score, info["problem_id"], int(info["place"]), tokens, given
        )
        return {"reward_score": reward, "reward_extra_info": {"acc": reward}}
