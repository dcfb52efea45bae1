"""Keys and values of earlier calls' tokens, so that what goes on from such a token needs no prefill."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.rollout.decode import Slots

MAX_BYTES = 2**29  # 524,000 tokens of ladder_xs, 87,000 of ladder_l
ROOT, NOWHERE = 0, -1


class Prefixes:
    """A tree of tokens: each is found by the place of the one before it, and has its keys and values there.

    They serve calls between which the weights stay as they are. A token's keys and values do not depend on
    what follows it, so sequences share their beginnings. They are those that were computed first, by a
    prefill or a decoding step, whose roundings differ: like a batch's other rows, what is kept reaches a
    sample through float rounding alone. Once `max_bytes` are full, nothing is entered any more.

    Example, after [7, 8] and [7, 9], (place before, token) -> place: (0, 7) -> 1, (1, 8) -> 2, (1, 9) -> 3.
    A pair is one number: found sooner than a tuple, and nothing that Python's collector has to visit.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.places: dict[int, int] = {}  # by place << 32 | token
        self.keys = self.values = torch.empty(0)  # [C, L, KV, Dh], with place 0 for columns before a sequence
        self.num_written = 0
        self._most = 0

    def bind(self, slots: Slots) -> None:
        """Take the sizes of the buffers that it is copied from and to."""
        if self.is_empty:
            layers, _, kv_heads, _, head_dim = slots.keys.shape
            self._most = self.max_bytes // (2 * layers * kv_heads * head_dim * slots.keys.element_size())
            self.keys = slots.keys.new_zeros(1, layers, kv_heads, head_dim)
            self.values = torch.zeros_like(self.keys)
            self.num_written = 1

    @property
    def is_empty(self) -> bool:
        """Whether no call has been made with it."""
        return self.num_written == 0

    def find(self, ids: Sequence[int]) -> list[int] | None:
        """The place of each of these tokens, which begin a sequence; None if one is not there."""
        found, place = [], ROOT
        try:
            for token in ids:
                found.append(place := self.places[place << 32 | token])
        except KeyError:
            return None
        return found

    def enter(self, place: int, ids: Sequence[int]) -> tuple[int, list[int]]:
        """Go on from a place by these tokens: the place reached, and which of the tokens are new.

        Keys and values of new ones are to be appended, in this order, before they are read. The place is
        `NOWHERE` where there is no room for all.
        """
        new: list[int] = []
        for number, token in enumerate(ids):
            step = self.places.get(place << 32 | token)
            if step is None:
                step = len(self.places) + 1
                if place == NOWHERE or step >= self._most:
                    return NOWHERE, new
                self.places[place << 32 | token] = step
                new.append(number)
            place = step
        return place, new

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [M, L, KV, Dh] of the M tokens that were entered last."""
        end = self.num_written + len(keys)
        if end > len(self.keys):
            self.keys, self.values = (_grown(x, max(end, 2 * len(x))) for x in (self.keys, self.values))
        self.keys[self.num_written : end] = keys
        self.values[self.num_written : end] = values
        self.num_written = end


def _grown(x: Tensor, size: int) -> Tensor:
    larger = x.new_empty(size, *x.shape[1:])
    larger[: len(x)] = x
    return larger
