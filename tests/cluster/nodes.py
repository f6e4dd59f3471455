"""A real Ray cluster of two nodes on this machine, in a process of its own as it is in life.

Run as a script it keeps the cluster and does what it reads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
# A node that is gone is missed after seconds, and not after a quarter of a minute.
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
MARK = "cluster: "  # before what is said here; Ray prints too


@dataclass(frozen=True)
class Nodes:
    """The cluster of the process `keeper`; `address` is host:port of its head."""

    address: str
    keeper: subprocess.Popen[str]

    def do(self, what: str) -> str:
        """Do it at once, and return what there is to say.

        Args:
            what: `kill` the node that came last, the `raylet` of the first, add one with a `gpu` (Ray takes our word
                for it), `quit`, or say how many `cores` are free and how many `nodes` live.
        """
        assert self.keeper.stdin is not None
        self.keeper.stdin.write(f"{what}\n")
        self.keeper.stdin.flush()
        return _heard(self.keeper)


def _heard(keeper: subprocess.Popen[str]) -> str:
    assert keeper.stdout is not None
    line = next(line for line in keeper.stdout if line.startswith(MARK))
    return line.removeprefix(MARK).strip()


def visible_gpus(shared: str, arrays: list[object], call: int) -> str:
    """Return what a node shows of its GPUs to the function that runs there."""
    return f"{shared} {call}: {os.environ.get('CUDA_VISIBLE_DEVICES')}"


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """Start a cluster, and end it after the block."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        nodes = Nodes(_heard(keeper), keeper)
        try:
            yield nodes
        finally:
            if keeper.poll() is None:
                nodes.do("quit")
            keeper.communicate(timeout=60)


def _keep() -> None:
    import ray
    from ray.cluster_utils import Cluster

    head = {**NODE, "include_dashboard": False, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head, connect=True)
    others = [cluster.add_node(**NODE)]
    print(f"{MARK}{cluster.address}", flush=True)
    for line in sys.stdin:
        what = line.strip()
        said: object = what
        if what == "kill":
            cluster.remove_node(others.pop(), allow_graceful=False)
        elif what == "gpu":
            others.append(cluster.add_node(**NODE, num_gpus=1))
        elif what == "cores":
            said = int(ray.available_resources().get("CPU", 0))
        elif what == "nodes":
            said = sum(node["Alive"] for node in ray.nodes())
        elif what == "raylet":
            cluster.head_node.kill_raylet()
        elif what == "quit":
            ray.shutdown()
            cluster.shutdown()
        print(f"{MARK}{said}", flush=True)


if __name__ == "__main__":
    _keep()
