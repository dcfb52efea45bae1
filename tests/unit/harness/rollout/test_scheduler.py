"""Slots and their requests over time, worked by hand with a sampler that follows a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.rollout.results import Request
from harness.rollout.scheduler import Scheduler, prefill_chunks
from harness.types import SamplingParams

EOS, STOP = 9, 7


def test_chunks_are_padded_to_their_longest_prompt() -> None:
    a, b, c, d = (1, 2), (1, 2, 3), (4,), (5, 6, 7, 8, 9)
    # Of 6 tokens: a and b padded to 3 are 6; c would make 9; c and d padded to 5 would be 10.
    assert prefill_chunks([a, b, c, d], 6) == [[a, b], [c], [d]]
    # Longest first: d alone (5 × 2 = 10); b and a (3 × 2 = 6); c.
    assert prefill_chunks([d, b, a, c], 6) == [[d], [b, a], [c]]
    assert prefill_chunks([d, d], 4) == [[d], [d]]  # a prompt over the budget is a chunk of its own
    assert prefill_chunks([], 4) == []


class _Script:
    """A `Sampler` of two slots: a request of seed n ends with its n-th token."""

    longest_first = False
    text_is_due = True

    def __init__(self, *, refills_at_once: bool, kept: frozenset[int] = frozenset()) -> None:
        self.kept = kept
        self.policy: Any = SimpleNamespace(head_weight=torch.zeros(1))
        self.refills_at_once = refills_at_once
        self.made: dict[int, list[int]] = {}
        self.total: dict[int, int] = {}
        self.events: list[str] = []
        self.rooms: list[int] = []  # what `room` answers, one call after another; afterwards there is room

    def room(self, lengths: Sequence[int]) -> int:
        return min(len(lengths), self.rooms.pop(0)) if self.rooms else len(lengths)

    def resume(self, requests: Mapping[int, Request]) -> set[int]:
        """Begin what is kept: requests of the seeds in `kept`."""
        found = {slot: request.seed for slot, request in requests.items() if request.seed in self.kept}
        for slot, count in found.items():
            self.made[slot], self.total[slot] = [], count
            self.events.append(f"resume {count} in {slot}")
        return set(found)

    def start(self, prefill: Any) -> None:
        for slot, count in prefill:
            self.made[slot], self.total[slot] = [EOS if count == 1 else count], count
            self.events.append(f"start {count} in {slot}")

    def advance(self) -> None:
        self.events.append("step")
        for slot, made in self.made.items():
            if len(made) < self.total[slot]:
                made.append(EOS if len(made) + 1 == self.total[slot] else self.total[slot])

    def ended(self) -> set[int] | None:
        return {slot for slot, made in self.made.items() if made[-1:] == [EOS]}

    def read(self, slots: Sequence[int]) -> tuple[list[list[int]], list[list[float]]]:
        return [list(self.made[slot]) for slot in slots], []

    def free(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self.made[slot]

    def arrange(self, active: Sequence[int], *, waiting: bool) -> dict[int, int]:
        return {}


def _run(
    monkeypatch: pytest.MonkeyPatch, script: _Script, counts: Sequence[int], stop: tuple[str, ...] = ()
) -> tuple[list[Request], list[tuple[int, list[int]]]]:
    def prefill(self: Scheduler, prompts: object, members: list[list[int]]) -> Any:
        return [(slot, self.active[slot].seed) for group in members for slot in group]

    monkeypatch.setattr(Scheduler, "_prefill", prefill)
    ends: list[tuple[int, list[int]]] = []
    requests = [Request((1,), n, 8, lambda tokens, n=n: ends.append((n, tokens))) for n in counts]
    Scheduler(
        script,
        requests,
        SamplingParams(max_new_tokens=8, stop=stop),
        capacity=2,
        eos_token_ids=frozenset((EOS,)),
        has_stop=lambda ids: STOP in ids,
        prefill_tokens=8,
    ).run()
    return requests, ends


@pytest.mark.parametrize("at_once", [False, True])
def test_a_slot_is_refilled_while_the_other_goes_on(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    script = _Script(refills_at_once=at_once)
    requests, ends = _run(monkeypatch, script, [3, 2, 4])
    assert [r.tokens for r in requests] == [[3, 3, EOS], [2, EOS], [4, 4, 4, EOS]]
    assert ends == [(2, [2]), (3, [3, 3]), (4, [4, 4, 4])]  # the end token is not passed on
    # The second ends after one step. Its slot is filled at once, or after the step that is next anyway.
    early = ["step", "start 4 in 1", "step", "step", "step"]
    late = ["step", "step", "start 4 in 1", "step", "step", "step"]
    assert script.events == ["start 3 in 0", "start 2 in 1", *(early if at_once else late)]


def test_a_request_that_its_first_token_ends_takes_part_in_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    script = _Script(refills_at_once=False)
    requests, _ = _run(monkeypatch, script, [1, 1, 1])
    assert [r.tokens for r in requests] == [[EOS]] * 3
    assert script.events == ["start 1 in 0", "start 1 in 1", "start 1 in 0"]


def test_a_stop_string_ends_a_request_and_is_no_end_token(monkeypatch: pytest.MonkeyPatch) -> None:
    script = _Script(refills_at_once=False)
    requests, ends = _run(monkeypatch, script, [STOP, 2], stop=("x",))
    assert requests[0].tokens == [STOP] and requests[0].finish_reason == "length"
    assert requests[1].finish_reason == "stop" and ends == [(STOP, [STOP]), (2, [2])]


def test_requests_wait_for_room_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots are vacant and the cache takes one request: the other starts when there is room again."""
    script = _Script(refills_at_once=True)
    script.rooms = [1, 0]
    requests, _ = _run(monkeypatch, script, [4, 2])
    assert [r.tokens for r in requests] == [[4, 4, 4, EOS], [2, EOS]]
    assert script.events == ["start 4 in 0", "step", "step", "start 2 in 1", "step"]


def test_a_kept_prompt_is_not_prefilled_and_gets_its_first_token_in_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = _Script(refills_at_once=False, kept=frozenset((3,)))
    requests, _ = _run(monkeypatch, script, [3, 2])
    assert [r.tokens for r in requests] == [[3, 3, EOS], [2, EOS]]
    assert script.events == ["resume 3 in 0", "start 2 in 1", "step", "step", "step"]
