"""What test_ray.py runs in a process of its own: Ray ends a process whose cluster has lost its head, a minute later."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from wham_blender.pipeline.batch.clip_worker import DONE, ClipWorker, Outcome, Task
from wham_blender.pipeline.batch.ray_pool import RayError, RayPool
from wham_blender.pipeline.job_process import Tell

CLIPS = 20


def processes(folder: Path) -> set[str]:
    """The processes that have begun a clip."""
    return {line for path in folder.glob("*.log") for line in path.read_text("utf-8").split()}


class StubWorker(ClipWorker):
    """Writes a line for each clip that it begins, and takes a moment; no networks."""

    def run(self, task: Task, tell: Tell) -> Outcome:
        """Write what is begun, and what has ended."""
        output = Path(task.arguments[0])
        with output.with_suffix(".log").open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")
        until = time.monotonic() + 60
        while len(processes(output.parent)) < 2 and time.monotonic() < until:  # both nodes have begun a clip
            time.sleep(0.05)
        time.sleep(0.2)
        output.write_text(f"motion {task.arguments[1]}")
        return Outcome(DONE, frames=int(task.arguments[1]))


def main(folder: Path) -> None:
    """Kill a node while clips are worked on, then the head; prints what came of it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    tasks = [Task([str(folder / f"{number}.npz"), str(number)]) for number in range(CLIPS)]
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    pool = RayPool(cluster.address, None, uses_cards=False, worker=StubWorker)
    ended = []
    for number, outcome in pool.run(tasks, lambda *_: None):
        ended.append(f"{number} {outcome.status} {outcome.frames}")
        if len(ended) == 1:
            cluster.remove_node(node, allow_graceful=False)
    print(sorted(ended, key=lambda line: int(line.split()[0])), flush=True)
    threading.Timer(0.5, cluster.head_node.kill_gcs_server).start()
    try:
        for _ in pool.run(tasks * 2, lambda *_: None):
            pass
    except RayError as error:
        print(error, flush=True)
    pool.stop()
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    # As a module of that name, so that the nodes find the stub.
    from tests.end_to_end import ray_scenario

    ray_scenario.main(Path(sys.argv[1]))
    os._exit(0)  # Ray's own exit would wait for the head
