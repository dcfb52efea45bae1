"""Streams are apart, salted as promised, and never change: their numbers are in every published record."""

from __future__ import annotations

import pytest

from harness.seeds import SALTED, STREAMS, all_streams, derive, stream_seed


def test_derive_never_changes() -> None:
    # From sha256sum alone: printf '1\x1fa\x1f2' | sha256sum, its first 16 hex digits, halved.
    assert derive(0) == 3456079177858693020
    assert derive(1, "a", 2) == 938383822073135179
    assert all_streams(seed=3, base_seed=5, replicate=0) == {
        "base": 219536867871435256,
        "init": 2027555228536558044,
        "data_order": 4103952184864874994,
        "rollout": 1675014415486836346,
        "eval_sampling": 3942036093904477989,
    }


def test_derive_tells_places_apart() -> None:
    # The separator keeps (1, 23) and (12, 3) apart, which plain concatenation would not.
    assert len({derive(1, 23), derive(12, 3), derive(123), derive(1, 2, 3)}) == 4
    seeds = {derive(7, step, place, sample) for step in range(8) for place in range(8) for sample in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_differ() -> None:
    assert len(set(all_streams(seed=0, base_seed=0, replicate=0).values())) == len(STREAMS)


def test_replicate_salts_three_streams_alone() -> None:
    a, b = (all_streams(seed=4, base_seed=2, replicate=r) for r in (0, 1))
    assert {name for name in STREAMS if a[name] != b[name]} == {"data_order", "rollout", "eval_sampling"}
    assert set(SALTED) == {"data_order", "rollout", "eval_sampling"}


def test_base_depends_on_base_seed_alone() -> None:
    reference = all_streams(seed=0, base_seed=0, replicate=0)
    other_seed = all_streams(seed=1, base_seed=0, replicate=3)
    assert {name for name in STREAMS if reference[name] == other_seed[name]} == {"base"}
    other_base = all_streams(seed=0, base_seed=1, replicate=0)
    assert {name for name in STREAMS if reference[name] != other_base[name]} == {"base"}


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(AssertionError, match="weights"):
        stream_seed("weights", seed=0, base_seed=0, replicate=0)
