"""Named random streams. Every random number of a run comes from one of these, so arms can share them.

| stream | what it drives | depends on |
|---|---|---|
| base | weights and corpus of a pretrained base | base_seed |
| init | weights that training adds (value head, adapters) | seed, stage |
| data_order | which problems a step sees | seed, replicate, stage |
| rollout | sampling of training completions | seed, replicate, stage |
| eval_sampling | sampling of evaluation completions | seed, replicate |

Streams are counter-based: a stream and its indices (step, problem, sample) name one 63-bit seed, so nothing
has to be saved or replayed on resume, and two arms that differ in the objective alone draw the same numbers.
"""

from __future__ import annotations

import hashlib

STREAMS = ("base", "init", "data_order", "rollout", "eval_sampling")
SALTED = ("data_order", "rollout", "eval_sampling")
OF_A_STAGE = ("init", "data_order", "rollout")


def stream_seed(stream: str, *, seed: int, base_seed: int, replicate: int, stages_before: int = 0) -> int:
    """The seed of one named stream, 63 bits. `replicate` salts data order, rollouts and evaluation alone.

    `stages_before` salts what a pipeline's stage draws in training: two stages on the same problems meet them
    in other orders. Every stage is evaluated with the same numbers.
    """
    assert stream in STREAMS, stream
    root = base_seed if stream == "base" else seed
    salt = replicate if stream in SALTED else 0
    stage = ("stage", stages_before) if stages_before and stream in OF_A_STAGE else ()
    return derive(root, stream, salt, *stage)


def all_streams(*, seed: int, base_seed: int, replicate: int, stages_before: int = 0) -> dict[str, int]:
    """Every stream's seed, as recorded in run.json."""
    roots = {"seed": seed, "base_seed": base_seed, "replicate": replicate, "stages_before": stages_before}
    return {stream: stream_seed(stream, **roots) for stream in STREAMS}


def derive(root: int, *indices: int | str) -> int:
    """A seed for a place inside a stream (step, problem id, sample), 63 bits, by SHA-256."""
    text = "\x1f".join(str(part) for part in (root, *indices))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
