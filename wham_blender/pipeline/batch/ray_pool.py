"""Runs the clips of a batch on a Ray cluster: actors that keep their networks, and lost nodes whose clips run again.

Clips, output folder, weights and this package have the same paths on all nodes, on storage that they share. Ray is
imported here only; its nodes trust each other.
"""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ... import limits, records
from ...errors import CodedError, one_line, reason
from .. import processors
from .clip_worker import FAILED, ClipWorker, Outcome, Task
from .process_pool import Report, workers_on_card

_TRIES = 3  # of a clip: a node may be lost twice, but a clip that ends its process must not run for ever
_WAIT = 1.0  # seconds between two looks whether the cluster is still there
_LOOKS = 3  # without an answer of the cluster's head, after which it is taken as lost
_CONNECT_TIMEOUT = 2.0  # seconds


class RayError(CodedError):
    """Ray is missing, or its cluster cannot be reached."""


class Actor:
    """The process on a node. Ray sends its class by name, so that the node runs its own copy of this package."""

    def __init__(self, worker: type[ClipWorker]) -> None:
        self._worker = worker()

    def ready(self) -> None:
        """Return as soon as the process has started."""

    def run(self, task: str) -> str:
        """The outcome of a task, both as JSON."""
        outcome = self._worker.run(records.make(Task, records.parse(task, limits.MESSAGE_BYTES)), lambda message: None)
        return json.dumps(asdict(outcome))


class RayPool:
    """Actors on a cluster that each take the next task as soon as they have ended one."""

    def __init__(
        self, address: str, count: int | None, uses_cards: bool, worker: type[ClipWorker] = ClipWorker
    ) -> None:
        """``count`` of actors; None: one for each core, or as many as fit on the cards. Raises RayError."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would send what it counts
        try:
            import ray
        except ImportError as error:
            raise RayError(
                f"Ray is not in this Python ({reason(error)}). Install pipeline/requirements-ray.txt into the worker's "
                "Python on each node.",
                code="ray-missing",
            ) from error
        self._ray, self._address = ray, address
        folder = Path(__file__).resolve().parents[3]
        environ = {"PYTHONPATH": str(folder), processors.CORES: "1", "OMP_NUM_THREADS": "1"}
        try:
            ray.init(address, runtime_env={"env_vars": environ}, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises many kinds, ConnectionError and RuntimeError among them
            raise self._lost(reason(error)) from error
        self._head = ray.get_runtime_context().gcs_address
        cards = ray.cluster_resources().get("GPU", 0) if uses_cards else 0
        on_card = self._actors_on_card() if cards else 1
        self._count = count or int(cards * on_card or ray.cluster_resources().get("CPU", 1))
        self._actor = ray.remote(num_cpus=1, num_gpus=1 / on_card if cards else 0)(Actor)
        self._worker = worker
        self._actors: list[Any] = []
        self._head_is_lost = False

    def _actors_on_card(self) -> int:
        """How many actors fit into the free memory of a card, by that of one that is free."""
        free = self._ray.get(self._ray.remote(num_cpus=0, num_gpus=1)(processors.free_card_memory).remote())
        return max(workers_on_card(min(free, default=0)), 1)

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[tuple[int, Outcome]]:
        """Each task's number and outcome as soon as it has ended. Raises RayError if the cluster is lost.

        ``report`` is not called: messages stay on the nodes. A task whose node was lost goes to another actor, which
        goes on from the last whole stage.
        """
        waiting, tries = list(range(len(tasks)))[::-1], Counter[int]()
        running: dict[Any, tuple[Any, int | None]] = {}  # by call: actor, and its task; None: the actor is starting
        for _ in range(min(self._count, len(tasks))):
            self._start(running)
        idle: list[Any] = []
        while waiting or any(number is not None for _, number in running.values()):
            while waiting and idle:
                number, actor = waiting.pop(), idle.pop()
                running[actor.run.remote(json.dumps(asdict(tasks[number])))] = actor, number
            ended, _ = self._ray.wait(list(running), num_returns=1, timeout=_WAIT)
            if not ended:
                self._check_head()
            for call in ended:
                actor, task = running.pop(call)
                try:
                    result = self._ray.get(call)
                except self._ray.exceptions.RayActorError as error:
                    self._actors.remove(actor)
                    if task is None:
                        if not self._actors:
                            raise self._lost(reason(error)) from error
                        continue
                    # It may have to wait for a node, so it takes no task before it has started.
                    self._start(running)
                    tries[task] += 1
                    if tries[task] < _TRIES:
                        waiting.append(task)
                    else:
                        yield task, self._gave_up(tasks[task], error)
                    continue
                idle.append(actor)
                if task is not None:
                    yield task, records.make(Outcome, records.parse(result, limits.MESSAGE_BYTES))

    def _start(self, running: dict[Any, tuple[Any, int | None]]) -> None:
        """Start an actor."""
        actor = self._actor.remote(self._worker)
        self._actors.append(actor)
        running[actor.ready.remote()] = actor, None

    @staticmethod
    def _gave_up(task: Task, error: Exception) -> Outcome:
        name = one_line(Path(task.arguments[-1]).name)
        return Outcome(
            FAILED, code="ray-clip-given-up",
            sentence=f"{name} was given up after {_TRIES} processes that worked on it were lost ({reason(error)}); the "
            "other clips go on. Give this clip alone, on a node with more memory.",
        )  # fmt: skip

    def _check_head(self) -> None:
        """Raise RayError if the cluster's head does not answer. Ray itself would end this process a minute later."""
        host, _, port = self._head.rpartition(":")
        for _ in range(_LOOKS):
            try:
                socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT).close()
                return
            except OSError as error:
                cause = error
        self._head_is_lost = True
        raise self._lost(reason(cause)) from cause

    def _lost(self, cause: str) -> RayError:
        return RayError(
            f"The Ray cluster {self._address} cannot be reached: {cause}. Check that it runs; the same command again "
            "goes on with what is not finished.",
            code="ray-not-reached",
        )

    def stop(self) -> None:
        """End all actors at once. Without a head they end by themselves, and calls to it would block for a minute."""
        if self._head_is_lost:
            return
        for actor in self._actors:
            try:
                self._ray.kill(actor)
            except Exception:  # noqa: S112 - the node or the head is gone, and the actor with it
                continue
        self._ray.shutdown()
