"""Beam search over derivation steps (arXiv:2408.03314 §5.2, its beam and lookahead search). Pure.

`beams` x `width` steps are sampled, the best `beams` kept, and each of these goes on in `width` ways. A
process value judges a step by itself, so sampling stops soon after its end; any other needs the whole output
(lookahead to the end), and a step is worth the mean of the outputs that began with it. What was sampled
beyond a step that is kept serves as its continuation, so nothing is paid for twice. Deviations: the search
begins again while the budget pays for a run as long as the longest so far; once the budget is spent within a
run, each step that is kept goes on in one way; and it chooses among all complete outputs.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.rollout.search.outputs import Ask, Draw, Found, Judge, Output, Search, vote_shares
from harness.rollout.search.tree import row
from harness.schema.search_config import SearchConfig

Whole = dict[tuple[int, ...], tuple[Output, float]]


@dataclass(slots=True)
class Step:
    """A distinct step: tokens `start` to `length` of each of `outputs`; `place` is its row in the tree."""

    start: int = 0
    length: int = 0
    outputs: list[Output] = field(default_factory=list)
    parent: int = 0
    place: int = 0
    value: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the step ends a complete output."""
        return self.outputs[0].complete and self.length == len(self.outputs[0].ids)


def beam(config: SearchConfig, *, at_least: int) -> Search:
    """Run beams until the budget is spent and `at_least` outputs are there."""
    found, longest = Found(by_votes=config.value == "rollout"), 0
    found.rows.append(row(None, (), visits=0, value=0.0, complete=False))
    while len(found.outputs) < at_least or found.sampled + longest <= config.most:
        begun = found.sampled
        yield from _run(config, found)
        longest = max(longest, found.sampled - begun)
    found.num_nodes = len(found.rows)
    return found


def _run(config: SearchConfig, found: Found) -> Generator[Draw | Judge, Any, None]:
    """One search from the prompt to the end of all its beams; its complete outputs are entered."""
    begun, slots, depth = found.sampled, config.beams, 0
    whole: Whole = {}
    live = [Step()] * config.beams
    while live:
        continued = yield from _continued(config, found, live)
        yield from _value_whole(config, whole, [output for _, output in continued if output.complete])
        steps = distinct(continued)
        yield from _value_steps(config, found, whole, steps)
        for step in steps:
            step.place, own = len(found.rows), step.outputs[0].part(step.start, step.length)
            found.rows.append(
                row(step.parent, own, visits=len(step.outputs), value=step.value, complete=step.over)
            )
        kept = sorted(steps, key=lambda step: -step.value)[:slots]
        live = [step for step in kept if not step.over]
        slots, depth = slots - (len(kept) - len(live)), depth + 1
    found.depth = max(found.depth, depth)
    for output, value in whole.values():
        found.add(output, value, begun=begun, spent=found.sampled)


def _continued(
    config: SearchConfig, found: Found, live: Sequence[Step]
) -> Generator[Draw | Judge, Any, list[tuple[Step, Output]]]:
    """`width` continuations of each step, sampled until each has a further step's end or is complete.

    One of each once the budget is spent: what began is finished.
    """
    limit = config.step_tokens if config.by_step else None
    continued: list[tuple[Step, Output]] = []
    waiting: list[tuple[Step, Ask]] = []
    width = config.width if found.sampled < config.most else 1
    for step in live:
        beyond = [output for output in step.outputs if len(output.ids) > step.length][:width]
        start = step.outputs[0] if step.outputs else None
        waiting += [(step, Ask(start, step.length, limit))] * (width - len(beyond))
        for output in beyond:
            if next_end(output, step.length) is None:
                waiting.append((step, Ask(output, len(output.ids), limit)))
            else:
                continued.append((step, output))
    while waiting:
        drawn: list[Output] = yield Draw([ask for _, ask in waiting])
        found.sampled += sum(output.num_drawn for output in drawn)
        pairs = [(step, output) for (step, _), output in zip(waiting, drawn, strict=True)]
        continued += [pair for pair in pairs if next_end(pair[1], pair[0].length) is not None]
        waiting = [(s, Ask(o, len(o.ids), limit)) for s, o in pairs if next_end(o, s.length) is None]
    return continued


def next_end(output: Output, after: int) -> int | None:
    """Tokens up to the end of the step that follows the first `after` tokens, None where it is not there yet.

    A complete output's last tokens are a step, too. Of one that is cut a step that ends with the last token
    does not count: its number may go on.
    """
    size = len(output.ids)
    ends = (end for end in output.ends if end > after and (output.complete or end < size))
    return next(ends, size if output.complete else None)


def distinct(continued: Sequence[tuple[Step, Output]]) -> list[Step]:
    """One step for each distinct continuation, in the order of their first."""
    steps: dict[tuple[int, ...], Step] = {}
    for before, output in continued:
        end = next_end(output, before.length)
        assert end is not None
        new = Step(start=before.length, length=end, parent=before.place)
        step = steps.setdefault(output.ids[:end], new)
        step.outputs.append(output)
    return list(steps.values())


def _value_whole(
    config: SearchConfig, whole: Whole, outputs: Sequence[Output]
) -> Generator[Draw | Judge, Any, None]:
    """Value complete outputs that are new, and enter them in `whole`."""
    new = list({output.ids: output for output in outputs if output.ids not in whole}.values())
    if not new:
        return
    values: list[float] = [0.0] * len(new)
    if config.value != "rollout":
        values = yield Judge([(output, len(output.ids)) for output in new])
    whole.update({output.ids: (output, value) for output, value in zip(new, values, strict=True)})


def _value_steps(
    config: SearchConfig, found: Found, whole: Whole, steps: Sequence[Step]
) -> Generator[Draw | Judge, Any, None]:
    """Value each step: by itself, or by the mean of the complete outputs that began with it."""
    if config.by_step:
        values: list[float] = yield Judge([(step.outputs[0], step.length) for step in steps])
        for step, value in zip(steps, values, strict=True):
            step.value = value
        return
    worth = {ids: value for ids, (_, value) in whole.items()}
    if config.value == "rollout":
        everyone = [*found.outputs, *(output for output, _ in whole.values())]
        shares = vote_shares([output.answer for output in everyone])
        worth = {output.ids: share for output, share in zip(everyone, shares, strict=True)}
    for step in steps:
        step.value = sum(worth[output.ids] for output in step.outputs) / len(step.outputs)
