"""Stage 4: image features and the first pose of each person, from HMR2.0 or from the open lifter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

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
    """WHAM's input for one person, apart from keypoints."""

    views: list[View]  # as filmed, and mirrored
    lifter_poses: Arrays  # the lifter's poses and betas of all frames, which replace WHAM's; empty: WHAM's are used
    key: str


def extract_features(context: JobContext, tracks: Tracks, camera: SolvedCamera, d_feat: int | None) -> list[Features]:
    """Features of each requested person; d_feat: width of the features that WHAM takes, None: it takes none."""
    people = list(zip(tracks.numbers, tracks.people, strict=True))
    weight = 1 / len(people)
    crops = tracks.detected.crops
    if crops is None:
        return [_from_lifter(context, [tracks.key, number], person, camera, weight) for number, person in people]
    file = context.backend.files["hmr2"]

    @cache  # loaded once, and only if features are missing from the stage cache
    def network() -> BatchedNetwork:
        device = torch.device(context.device)
        return context.network(
            "hmr2", lambda: hmr2_features.hmr2_network(hmr2_features.load_hmr2(file.path), device, context.log)
        )

    features = []
    for number, person in people:
        settings = [tracks.key, number, file.sha256, d_feat is not None]
        features.append(_from_hmr2(context, settings, _Crops(crops, person, network), weight))
    network.cache_clear()
    context.free_memory()
    return features


def _from_lifter(
    context: JobContext, settings: list[Any], person: Person, camera: SolvedCamera, weight: float
) -> Features:
    lifter, temporal = (context.backend.files[role] for role in ("lifter", "temporal"))

    def extract(_progress: Progress) -> Arrays:
        networks = context.network(
            "lifter", lambda: lifter_features.PoseNetworks.load(lifter.path, temporal.path), temporal.sha256
        )
        return joined(map(vars, lifter_features.extract_features(networks, person, context.size, camera.camera_K)))

    settings = [*settings, camera.camera_K.tolist(), lifter.sha256, temporal.sha256]
    arrays, key = context.cache.run("features", settings, extract, weight)
    *views, poses = parted(arrays)
    if context.backend.published:  # it was trained on HMR2.0's features, and its own poses are used
        return Features([View(view["init_pose"], view["init_betas"]) for view in views], {}, key)
    return Features([View(**view) for view in views], poses, key)


@dataclass(frozen=True)
class _Crops:
    """One person's rows in the file of crops, and a function that loads HMR2.0."""

    file: ArrayFile
    person: Person
    network: Callable[[], BatchedNetwork]

    def first_pose(self, progress: Progress) -> Arrays:
        """HMR2.0's pose of the first frame, without features."""
        return hmr2_features.extract_features(self.network(), self.file, self.person.detection_rows, None, progress)

    def features(self, progress: Progress, target: ArrayFile) -> Arrays:
        """HMR2.0's pose of the first frame; the features of all frames are written to the file."""
        return hmr2_features.extract_features(self.network(), self.file, self.person.detection_rows, target, progress)


def _from_hmr2(context: JobContext, settings: list[Any], crops: _Crops, weight: float) -> Features:
    *_, takes_features = settings
    if not takes_features:
        arrays, key = context.cache.run("features", settings, crops.first_pose, weight)
        return Features(hmr2_features.views_of(arrays, None), {}, key)
    arrays, key, file = context.cache.run_with_file("features", settings, "features", crops.features, weight)
    return Features(hmr2_features.views_of(arrays, file), {}, key)
