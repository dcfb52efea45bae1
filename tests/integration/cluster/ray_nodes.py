"""A Ray of two nodes on this machine, a CPU each; the head claims a GPU that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NICENESS = "RAY_worker_niceness"  # Ray's own default is 15: beside other processes its workers hardly run


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start both nodes, and end them afterwards; the second is the only one of `worker_nodes`."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault(NICENESS, "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
