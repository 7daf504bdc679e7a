"""Stage 8: lifts hands from the points seen of them, and puts them on the placed people."""

from __future__ import annotations

import hashlib

import numpy as np

from ... import weights
from ...body.body import Body
from ...models.hand_lifter import HandLifter
from ..people.types import Person
from ..pose.hand_lifting import SeenArm, lift, load_hand_lifter
from ..pose.hand_skeleton import ANGLES, of_body
from ..progress import Progress
from ..world.hand_poses import SeenHand, arm_of, with_hands
from ..world.placement import Placed
from .cache import Arrays, joined, parted
from .camera import SolvedCamera
from .context import JobContext
from .pose import Lifted
from .tracks import Tracks


def add_hands(
    context: JobContext, tracks: Tracks, camera: SolvedCamera, lifted: Lifted, placed: list[Placed]
) -> list[Placed]:
    """Each requested person with wrists and fingers as seen; unchanged if the job does not look at hands."""
    if not context.job.hands:
        return placed
    body = lifted.body if lifted.body.has_hands else Body.load(weights.find("body").path)
    file = context.backend.files["hand_lifter"]
    lifter = context.network("hand_lifter", lambda: load_hand_lifter(file.path))
    shown = []
    for number, person, person_placed in zip(tracks.numbers, tracks.people, placed, strict=True):
        skeletons = of_body(body, person_placed.betas if body is lifted.body else np.zeros(10, np.float32))
        arms = [arm_of(person_placed, skeleton, side) for side, skeleton in enumerate(skeletons)]
        digest = hashlib.sha256(b"".join(values.tobytes() for arm in arms for values in vars(arm).values()))
        settings = [tracks.key, number, file.sha256, camera.camera_K.tolist(), digest.hexdigest()]
        arrays, _ = context.cache.run(
            "hands", settings, lambda progress: _seen_hands(lifter, person, arms, camera.camera_K, progress),  # noqa: B023
            1 / len(tracks.people),
        )  # fmt: skip
        hands = [SeenHand(**each) for each in parted(arrays)]
        shown.append(with_hands(person_placed, hands, skeletons, context.job.smooth))
    return shown


def _seen_hands(
    lifter: HandLifter, person: Person, arms: list[SeenArm], camera_K: np.ndarray, progress: Progress
) -> Arrays:
    """Both hands of a person in all frames."""
    hands = []
    for side, arm in enumerate(arms):
        score = person.hand_scores[:, side].astype(float)
        count, seen = len(score), score > 0
        found = lift(lifter, person.hands[seen, side], score[seen], arm.at(seen), camera_K, side)
        angles, errors = np.zeros((count, ANGLES)), np.ones((count, ANGLES + 1))
        rotation = np.tile(np.eye(3), (count, 1, 1))
        angles[seen], rotation[seen], errors[seen] = found.angles, found.rotation, found.errors
        hands.append(vars(SeenHand(angles, rotation, errors, score)))
        progress(len(hands), 2)
    return joined(hands)
