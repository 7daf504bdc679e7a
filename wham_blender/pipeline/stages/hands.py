"""Stage 8: fits hands to the points seen of them, and puts them on the placed people."""

from __future__ import annotations

import numpy as np
import torch

from ... import weights
from ...body.body import Body
from ..people.types import Person
from ..pose import hand_fit
from ..pose.hand_fit import ANGLES, HandSkeleton
from ..progress import Progress
from ..world.hand_poses import SeenHand, likelier, with_hands
from ..world.placement import Placed
from .cache import Arrays, joined, parted
from .camera import SolvedCamera
from .context import JobContext
from .pose import Lifted
from .tracks import Tracks

_WRISTS = (20, 21)


def add_hands(
    context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, placed: list[Placed]
) -> list[Placed]:
    """Each requested person with wrists and fingers as seen; unchanged if the job does not look at hands."""
    if not context.job.hands:
        return placed
    body = lifted.body if lifted.body.has_hands else Body.load(weights.find("body").path)
    shown = []
    for number, person, person_placed in zip(tracks.numbers, tracks.people, placed, strict=True):
        betas = person_placed.betas if body is lifted.body else np.zeros(10, np.float32)
        skeletons = skeletons_of(body, betas)
        settings = [tracks.key, number, camera.camera_K.tolist(), *(each.points.tolist() for each in skeletons)]
        arrays, _ = context.cache.run(
            "hands", settings, lambda progress: _fitted(person, skeletons, camera.camera_K, progress),  # noqa: B023
            1 / len(tracks.people),
        )  # fmt: skip
        fitted = [SeenHand(**each) for each in parted(arrays)]
        hands = [likelier(fitted[2 * side], fitted[2 * side + 1], person_placed, side) for side in (0, 1)]
        shown.append(with_hands(person_placed, hands, skeletons, context.job.smooth))
    return shown


def _fitted(person: Person, skeletons: list[HandSkeleton], camera_K: np.ndarray, progress: Progress) -> Arrays:
    fitted = []
    for side, skeleton in enumerate(skeletons):
        hands = person.hands[:, side]
        for points in (hands, hand_fit.mirrored_in_depth(hands)):
            fitted.append(vars(fit_hand(points, person.hand_scores[:, side], skeleton, camera_K)))
            progress(len(fitted), 4)
    return joined(fitted)


def fit_hand(points: np.ndarray, score: np.ndarray, skeleton: HandSkeleton, camera_K: np.ndarray) -> SeenHand:
    """One hand (F, 21, 5) in all frames; it is seen where its score (F,) is above 0."""
    count = len(points)
    angles, rotation = np.zeros((count, ANGLES)), np.tile(np.eye(3), (count, 1, 1))
    error, unlikely = np.zeros(count), np.zeros(count)
    seen = score > 0
    if seen.any():
        fitted = hand_fit.fit(skeleton, points[seen], camera_K)
        angles[seen], rotation[seen] = fitted.angles, fitted.rotation
        error[seen], unlikely[seen] = fitted.error, fitted.unlikely
    return SeenHand(angles, rotation, error, score.astype(float), unlikely)


@torch.inference_mode()
def skeletons_of(body: Body, betas: np.ndarray) -> list[HandSkeleton]:
    """The left and the right hand of a body that has fingers, of shape (10,)."""
    shape = torch.from_numpy(np.asarray(betas, np.float32)).to(body.smpl.v_template.device)
    joints, tips = (points.cpu().numpy().astype(float) for points in body.rest_hands(shape))
    wrists = body.rest_joints(shape)[list(_WRISTS)].cpu().numpy().astype(float)
    skeletons = []
    for side, wrist in enumerate(wrists):
        points = np.zeros((21, 3))
        points[hand_fit.FINGER_POINTS[:, :3]] = joints[15 * side : 15 * side + 15].reshape(5, 3, 3) - wrist
        points[hand_fit.FINGER_POINTS[:, 3]] = tips[5 * side : 5 * side + 5] - wrist
        skeletons.append(HandSkeleton(points))
    return skeletons
