"""Stage 4: image features and first poses of each person, from HMR2.0 or from the open lifter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..array_file import ArrayFile
from ..people.batched_network import BatchedNetwork
from ..people.types import Person
from ..pose import hmr2_features, lifter_features
from ..pose.types import View
from ..progress import Progress
from .cache import Arrays, joined, parted
from .camera import SolvedCamera
from .context import JobContext
from .tracks import Tracks


@dataclass(frozen=True)
class Features:
    """What WHAM is given of one person beside keypoints."""

    views: list[View]  # as filmed, and mirrored
    own_poses: Arrays  # the lifter's poses and betas of all frames, which replace WHAM's; empty: WHAM's are used
    key: str


def extract_features(context: JobContext, tracks: Tracks, camera: SolvedCamera, d_feat: int | None) -> list[Features]:
    """Features of each person asked for; d_feat: the width of features that WHAM takes, None: it takes none."""
    people = list(zip(tracks.numbers, tracks.people, strict=True))
    weight = 1 / len(people)
    crops = tracks.detected.crops
    if crops is None:
        return [_from_lifter(context, [tracks.key, number], person, camera, weight) for number, person in people]
    file = context.backend.files["hmr2"]

    @cache  # loaded once, and only where somebody's features are not kept from an earlier run
    def network() -> BatchedNetwork:
        return hmr2_features.hmr2(hmr2_features.load_hmr2(file.path), context.device, context.log)

    found = []
    for number, person in people:
        settings = [tracks.key, number, file.sha256, d_feat is not None]
        found.append(_from_hmr2(context, settings, _Crops(crops, person, network), weight))
    network.cache_clear()
    context.free_memory()
    return found


def _from_lifter(
    context: JobContext, settings: list[Any], person: Person, camera: SolvedCamera, weight: float
) -> Features:
    lifter = context.backend.files["lifter"]

    def describe(_progress: Progress) -> Arrays:
        network = lifter_features.load(lifter.path)
        return joined(map(vars, lifter_features.describe(network, person, context.size, camera.camera_K)))

    settings = [*settings, camera.camera_K.tolist(), lifter.sha256]
    arrays, key = context.cache.run("features", settings, describe, weight)
    *views, own = parted(arrays)
    if context.backend.published:  # the published WHAM learned on other features, and its own poses are used
        return Features([View(view["init_pose"], view["init_betas"]) for view in views], {}, key)
    return Features([View(**view) for view in views], own, key)


@dataclass(frozen=True)
class _Crops:
    """One person's rows in the file of crops, and HMR2.0, loaded when it is called."""

    file: ArrayFile
    person: Person
    network: Callable[[], BatchedNetwork]

    def first_pose(self, progress: Progress) -> Arrays:
        """HMR2.0's first pose alone."""
        return hmr2_features.describe(self.network(), self.file, self.person.rows, None, progress)

    def features(self, progress: Progress, target: ArrayFile) -> Arrays:
        """HMR2.0's first pose; the features of all frames go to the file."""
        return hmr2_features.describe(self.network(), self.file, self.person.rows, target, progress)


def _from_hmr2(context: JobContext, settings: list[Any], crops: _Crops, weight: float) -> Features:
    *_, takes_features = settings
    if not takes_features:
        arrays, key = context.cache.run("features", settings, crops.first_pose, weight)
        return Features(hmr2_features.views(arrays, None), {}, key)
    arrays, key, file = context.cache.run_with_file("features", settings, "features", crops.features, weight)
    return Features(hmr2_features.views(arrays, file), {}, key)
