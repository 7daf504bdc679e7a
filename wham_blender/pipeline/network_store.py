"""Keeps loaded networks, for processes that run many jobs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Network = TypeVar("Network")


class NetworkStore:
    """Networks by what they were loaded from, such as their files' hashes and their device.

    A store that does not keep them, for a single job, lets each be freed when the stage that uses it ends.
    """

    def __init__(self, keeps: bool = False) -> None:
        self._keeps = keeps
        self._kept: dict[Hashable, Any] = {}

    def get(self, key: Hashable, load: Callable[[], Network]) -> Network:
        """The network of a key: a kept one, or what ``load`` returns."""
        if not self._keeps:
            return load()
        if key not in self._kept:
            self._kept[key] = load()
        network: Network = self._kept[key]
        return network
