"""Lines of `--plan` on what checkpoints are sampled for, and on how far bases are pretrained. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from harness.launch.costs import search_tokens
from harness.schema.run_config import RunConfig


def sampling_lines(configs: Sequence[RunConfig]) -> list[str]:
    """What `eval.temperatures` and `eval.search` add to each checkpoint, once for arms that agree."""
    lines = []
    for c in configs:
        if found := c.eval.samplings:
            pairs = ", ".join(f"{t:g}" if p == c.eval.top_p else f"{t:g} (top-p {p:g})" for t, p in found)
            lines.append(
                f"Sampled also at temperature {pairs}: {1 + len(found)} times the samples of each checkpoint "
                "and base, best one by validation"
            )
    for c in configs:
        if c.eval.search:
            most = max(search.most for search in c.eval.search)
            lines.append(
                f"eval.search: {len(c.eval.search)} of each checkpoint and base, up to {most:,} tokens a "
                f"problem: {search_tokens(c):,} tokens together"
            )
    return list(dict.fromkeys(lines))


def until_lines(configs: Sequence[RunConfig]) -> list[str]:
    """Line on where pretraining stops, once for bases that agree; they are priced at the most steps."""
    lines = []
    for config in configs:
        pretrain = config.model.pretrain
        if pretrain is not None and (until := pretrain.until) is not None:
            lines.append(
                f"Base of {config.model.name}: pretrained until greedy accuracy on validation is "
                f"{until.accuracy:g} ± {until.within:g}, at most {pretrain.steps:,} steps, for which it is "
                "priced; one that does not get there fails its runs"
            )
    return list(dict.fromkeys(lines))
