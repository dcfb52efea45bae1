"""The quickstart, shortened, by Slurm and by Ray: every number is the local launcher's, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.campaign.runs import differences
from tests.integration.cluster.quickstart import missing, quickstart, running

pytestmark = pytest.mark.timeout(900)
SHORT = (
    "seed=4,5",
    "model.pretrain.steps=150",
    "trainer.steps=3",
    "rollout.keep=2",
    "trainer.checkpoint_every=2",
    "data.num_train=32",
    "data.num_validation=12",
    "data.num_test=12",
    "eval.k=2",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of the local launcher."""
    folder = tmp_path_factory.mktemp("here")
    with running("process", folder) as (on, environment):
        return quickstart(folder, SHORT, on=on, environment=environment)


@pytest.mark.parametrize("launcher", ["slurm", "ray"])
def test_every_number_is_the_local_launchers(launcher: str, tmp_path: Path, request: Any) -> None:
    if (why := missing(launcher)) is not None:
        pytest.skip(why)
    expected = request.getfixturevalue("here")
    with running(launcher, tmp_path / "cluster") as (on, environment):
        found = quickstart(tmp_path / "study", SHORT, on=on, environment=environment)
    assert differences(found, expected) == []
    kinds = ("checkpoints/", "bases/", "eval/", "rollouts/", "metrics.jsonl", "arms.csv", "evaluations.csv")
    assert all(any(kind in name for name in expected) for kind in kinds), list(expected)
