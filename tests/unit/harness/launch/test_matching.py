"""Matching the free places of a launch to its jobs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.launch.matching import Matcher
from harness.launch.worker import Work


def job(name: str, seed: int = 0, cost: float = 1.0, engine: str = "e", **more: Any) -> Work:
    config: Any = SimpleNamespace(seed=seed)
    return Work(name, config, (), "f", cost, engine=engine, **more)


def base(name: str, seed: int = 0, on_cpu: bool = True) -> Work:
    return job(name, seed, is_base=True, on_cpu=on_cpu)


def taken(matcher: Matcher, place: str | None, jobs: list[Work], engine: str = "") -> str | None:
    found = matcher.match([("it", place, engine)], jobs, jobs)
    return found[1].name if found else None


def test_without_gpus_a_place_takes_the_first_job() -> None:
    jobs = [base("b"), job("r")]
    assert taken(Matcher([None, None], {}), None, jobs) == "b"
    assert taken(Matcher(["", ""], {}), "", jobs[1:]) == "r"


def test_a_lasting_child_takes_a_run_of_its_engine_before_a_longer_one() -> None:
    jobs = [job("long", engine="x"), job("own", engine="y")]
    assert taken(Matcher(["0"], {}), "0", jobs, engine="y") == "own"
    assert taken(Matcher(["0"], {}), "0", jobs, engine="z") == "long"


def test_bases_of_the_cpu_go_to_places_of_their_own_beside_gpus_and_nothing_else_does() -> None:
    matcher = Matcher(["0", "0", None], {})
    jobs = [base("b"), base("g", on_cpu=False), job("r")]
    assert taken(matcher, None, jobs) == "b"
    assert taken(matcher, None, jobs[1:]) is None
    assert taken(matcher, "0", jobs) == "g"
    assert taken(matcher, "0", [jobs[0]]) is None
    assert taken(Matcher(["0"], {}), "0", jobs) == "b"  # no such place: the GPU's child makes it


def test_a_seed_stays_on_its_side() -> None:
    matcher = Matcher(["0", ""], {7: False})
    assert taken(matcher, "0", [job("c", seed=7)]) is None
    assert taken(matcher, "", [job("c", seed=7)]) == "c"
    assert taken(matcher, "0", [job("g", seed=1)]) == "g"  # and binds seed 1 to the GPU
    assert taken(matcher, "", [job("h", seed=1)]) is None


def test_a_cpu_begins_a_seed_only_if_it_ends_before_the_gpus_do() -> None:
    """One GPU, one core, 4 times slower: seed 9 has one run, 4 on the core, and so long must the GPU work."""
    few = [job("s9", seed=9), *(job(f"g{i}", seed=i) for i in range(2))]  # 3 on the GPU
    assert taken(Matcher(["0", ""], {}), "", few) is None
    enough = [*few, job("g3", seed=3)]  # 4 on the GPU
    matcher = Matcher(["0", ""], {})
    assert taken(matcher, "", enough) == "s9"
    # Now 4 on the core and 3 on the GPU: another seed there would make 8 and 3.
    assert taken(matcher, "", enough[1:]) is None
    # Eight cores share both: 8 / 8 = 1, and the GPU has 3.
    assert taken(Matcher(["0", *[""] * 8], {9: False}), "", enough[1:]) == "g0"
    # A second run of its own seed the core takes in any case.
    assert taken(matcher, "", [job("s9b", seed=9), *enough[1:]]) == "s9b"
