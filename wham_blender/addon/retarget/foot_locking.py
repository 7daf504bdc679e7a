"""Locks planted feet after retargeting: planted points stay in place, no foot sinks, and legs reach. NumPy only.

On other proportions the feet of a retargeted motion slide and float. Here each foot is put flat, or on its toe or heel,
on pins that do not move while it is planted. Around the contact the correction fades; the pelvis follows what is slow
in it, and comes down for a leg that does not reach; thigh and shin follow by two-bone IK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ... import quaternions
from ...animation import Animation, low_pass
from ...motion import true_intervals, without_short_contacts
from ...planted_feet import HINGED, LEGS, eased, mean_of_planted, smooth_maximum, two_bone_ik
from .foot_geometry import FootMotion, FootRotations, Leg, PlantedFoot
from .foot_pins import Floor, pin, pin_drift
from .transfer import Pose, Target, ground

# All set by hand, judged on the motions, leg lengths and limits of tests/addon/test_foot_locking_on_motions.py.
_EASE = 0.4  # seconds in which a correction fades around a contact
_PELVIS_CUTOFF = 0.5  # hertz: the pelvis follows the low-pass filtered correction of the feet
_PELVIS_EASE = 0.2  # seconds in which the pelvis comes down for a leg that does not reach
# Of a leg's length, the reach of a planted leg: so much more than in the pose, lest knees snap straight, but within
# these limits, lest the pelvis comes down for a leg that is well bent.
_MORE_REACH, _LEAST_REACH, _MOST_REACH = 0.02, 0.93, 0.99
_MOST_DROP = 0.4  # of a leg's length that the pelvis comes down at most
_FASTEST = 1.0  # leg lengths a second: the speed of a planted point is lower
# The angle between a planted sole and the floor is smaller; else the foot is that of somebody who kneels or lies.
_STEEPEST_TOE, _STEEPEST_HEEL = np.radians(75), np.radians(50)
_STEEP_WINDOW = 0.2  # seconds before and after, see _without_steep_soles
_SHORTEST = 0.1  # seconds: shorter contacts are dropped
_FAST_MARGIN = 0.7  # of that: how long before and after it moves fast a point is not planted
_STEP, _SLIP = 0.12, 0.12  # of a leg's length, see Floor
_GAP, _CREEP = 0.15, 0.022  # seconds, and leg lengths a second, see Floor
_MOST_LAG = 2.5  # of Floor.slip: a pin may be that far behind a drifting point; a point that goes further slides
_SLIDING, _SLIDING_WINDOW = 0.05, 0.1  # leg lengths a second, on average over so many seconds before and after
# Smaller jumps are accepted: metres, of a leg's length, or of a foot's length (2.3 degrees: the end of a long foot goes
# farther with the same rotation), whichever is more.
_JUMP, _JUMP_OF_LEG, _JUMP_OF_FOOT = 0.009, 0.005, 0.04
_MOST_SHORTENING = 0.2  # seconds by which a contact may be shortened at either end to prevent jumps


def lock_feet(source: Animation, target: Target, pose: Pose, hip_offsets: np.ndarray, rate: float) -> Pose:
    """The pose with feet locked where the source's are planted, ``rate`` rows a second.

    ``hip_offsets`` (F, 2, 3): of the left and the right hip from the midpoint of both. The first and the last row of a
    contact are only known roughly: where the foot already rotates or slides there, so that its correction would jump,
    the contact is shortened.
    """
    body = _Body.of(source, target, pose, hip_offsets, rate)
    size = float(np.mean([leg.length for leg in body.legs]))
    contacts = _without_steep_soles(source, round(_STEEP_WINDOW * rate))
    contacts = _without_fast_points(contacts, body.source, _FASTEST * size / rate, _SHORTEST * rate)
    window = round(_SLIDING_WINDOW * rate)
    contacts = _without_sliding(contacts, body.source, body.floor, _SLIDING * size / rate, window)
    contacts = without_short_contacts(contacts, _SHORTEST * rate)
    most = np.maximum(max(_JUMP, _JUMP_OF_LEG * size), _JUMP_OF_FOOT * np.array([leg.foot_length for leg in body.legs]))
    for _ in range(round(_MOST_SHORTENING * rate)):
        locked, planted = body.locked(contacts)
        if any((leg.shares < 1).any() for leg in body.legs):  # legs bend otherwise than in the pose
            body = replace(body, shins=locked.rotations)
            locked, planted = body.locked(contacts)
        jumping = _jumping(body.foot_points(locked) - body.foot_points(pose), planted, most)
        if not jumping.any():
            return locked
        contacts = without_short_contacts(_shortened(planted, jumping), _SHORTEST * rate)
    return body.locked(contacts)[0]


@dataclass(frozen=True)
class _Body:
    """What the locking of a target's feet needs, over F frames in the body's space."""

    target: Target
    legs: tuple[Leg, Leg]
    pose: Pose
    hip_offsets: np.ndarray  # (F, 2, 3)
    source: np.ndarray  # (F, 4, 3) the source's foot points on the target's scale
    hinges: np.ndarray  # (F, 2, 3) axes about which the source's knees bend
    floor: Floor
    rate: float
    shins: Mapping[str, np.ndarray]  # (F, 4) rotations of bones as they are with locked feet, or nearly so

    @classmethod
    def of(cls, source: Animation, target: Target, pose: Pose, hip_offsets: np.ndarray, rate: float) -> _Body:
        """See lock_feet."""
        scaling = ground(source, target)
        up, height_of = target.space.world_up()
        legs = Leg.of(target, "left"), Leg.of(target, "right")
        size = float(np.mean([leg.length for leg in legs]))
        height, creep = float(height_of(np.array(scaling.floor))), _CREEP * size / rate
        floor = Floor(up, height, _STEP * size, _SLIP * size, creep, round(_GAP * rate))
        hips = source.pose()[1][:, [leg.hip for leg in LEGS]]
        hinges = target.space.directions_from_world(quaternions.rotate(hips, np.array(HINGED.axis)))
        points = target.space.from_world(scaling.place(source.foot_points()))
        return cls(target, legs, pose, hip_offsets, points, hinges, floor, rate, pose.rotations)

    def leg_bones(self, leg: Leg, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """The vectors (F, 3) of thigh and shin."""
        thigh, shin = (self.target.limb_vector(f"{leg.side}_{joint}", pose.rotations) for joint in ("hip", "knee"))
        return thigh, shin

    def foot_points(self, pose: Pose) -> np.ndarray:
        """Toe, heel and ankle (F, 2, 3, 3) of the left and the right foot."""
        points = []
        for number, leg in enumerate(self.legs):
            thigh, shin = self.leg_bones(leg, pose)
            ankle = pose.hips + self.hip_offsets[:, number] + thigh + shin
            points.append(leg.points(ankle, pose.rotations[leg.foot], pose.rotations[leg.toes]))
        return np.stack(points, 1)

    def locked(self, contacts: np.ndarray) -> tuple[Pose, np.ndarray]:
        """The pose with feet locked in contacts (F, 4), and the contacts that this needed (F, 4)."""
        pose, up, rate, ease = self.pose, self.floor.up, self.rate, _EASE * self.rate
        before = self.foot_points(pose)
        feet = []
        for number, (leg, columns) in enumerate(zip(self.legs, (joints.points for joints in LEGS), strict=True)):
            pins = pin(
                before[:, number, :2], self.source[:, columns], contacts[:, columns], leg.foot_length, self.floor
            )
            shin = self.shins[self.target.rig_map.bones[f"{leg.side}_knee"]]
            turned = FootRotations(pose.rotations[leg.foot], pose.rotations[leg.toes], shin)
            feet.append(PlantedFoot.of(leg, pins, turned, up, ease))

        planted = np.stack([foot.planted for foot in feet], 1)
        on_heel = np.stack([foot.pins.planted[:, 1] for foot in feet], 1)  # raising the heel cannot help these
        bones = [self.leg_bones(leg, pose) for leg in self.legs]
        lengths = np.array([leg.length for leg in self.legs])
        distances = np.stack([np.linalg.norm(thigh + shin, axis=-1) for thigh, shin in bones], 1)
        reaches = np.clip(distances + _MORE_REACH * lengths, _LEAST_REACH * lengths, _MOST_REACH * lengths)

        def lowered(hips: np.ndarray, where: np.ndarray) -> np.ndarray:
            ankles = np.stack([foot.motion().ankle for foot in feet], 1)
            drop = _pelvis_drop(ankles - hips[:, None] - self.hip_offsets, reaches, where, up, rate)
            return hips - drop[:, None] * up

        corrections = np.stack([foot.motion().ankle for foot in feet], 1) - before[:, :, 2]
        hips = lowered(pose.hips + _pelvis_shift(corrections, planted, rate), on_heel)
        for number in (0, 1):
            feet[number] = feet[number].with_heel_raised(hips + self.hip_offsets[:, number], reaches[:, number], rate)
        hips = lowered(hips, planted)

        rotations, knee_directions = dict(pose.rotations), {}
        for number, (leg, foot) in enumerate(zip(self.legs, feet, strict=True)):
            motion, hip = foot.motion(), hips + self.hip_offsets[:, number]
            toes, goal = self._toes_and_ankle(leg, motion, before[:, number], hips)
            goal = goal - hip
            # In the air a leg gets no straighter than in the pose, or than one that stands: no knee snaps straight.
            longest = np.maximum(distances[:, number], _MOST_REACH * leg.length)
            fraction = longest / np.maximum(np.linalg.norm(goal, axis=-1), 1e-9)
            goal *= np.where(motion.planted, 1.0, np.minimum(fraction, 1.0))[:, None]
            thigh, shin, direction = two_bone_ik(*bones[number], goal, self.hinges[:, number], HINGED)
            knee_directions[f"{leg.side}_leg"] = direction
            for joint, rotation in ((f"{leg.side}_hip", thigh), (f"{leg.side}_knee", shin)):
                for bone in (self.target.rig_map.bones[joint], *self.target.rig_map.twists.get(joint, ())):
                    rotations[bone] = quaternions.multiply(rotation, rotations[bone])
            rotations[leg.foot] = motion.foot
            if name := self.target.rig_map.bones.get(f"{leg.side}_foot"):
                rotations[name] = motion.foot if leg.toes == leg.foot else toes
        pinned = np.concatenate([foot.pins.planted for foot in feet], 1)
        return replace(pose, rotations=rotations, hips=hips, knee_directions=knee_directions), pinned

    def _toes_and_ankle(
        self, leg: Leg, motion: FootMotion, before: np.ndarray, hips: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The toes' rotations (F, 4) and the goal (F, 3) of an ankle; before (F, 3, 3): toe, heel, ankle in the pose.

        The mean displacement of the foot's points is eased, so that the foot's rotation around a contact moves them as
        little as possible; in the air the foot goes along with the pelvis.
        """
        centre = leg.points(np.zeros_like(motion.ankle), motion.foot, motion.toes).mean(1)
        centre_before = before.mean(1)
        shift = motion.ankle + centre - centre_before
        shift = eased(shift, motion.planted, _EASE * self.rate, hips - self.pose.hips)
        ankle, toes = centre_before + shift - centre, motion.toes
        if leg.toes != leg.foot:
            toes = leg.toes_above_ground(motion, ankle, self.floor.up, self.rate)
        return toes, leg.ankle_above_ground(motion, toes, ankle, self.floor.up)


def _jumping(corrections: np.ndarray, planted: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Where (F-1, 4) feet jump between rows in which a point's contact begins or ends.

    corrections (F, 2, 3, 3): of each foot's toe, heel and ankle, which jump if they move farther than ``most`` (2,).
    While the foot stands on its other end, only what that end's correction does not have counts: the rest takes away
    the slide of the source.
    """
    planted = planted.reshape(-1, 2, 2)
    stands, steps = np.asarray(planted.any(2)), np.diff(corrections, axis=0)
    total = np.linalg.norm(steps, axis=-1).max(-1)
    relative = np.linalg.norm(steps[:, :, 0] - steps[:, :, 1], axis=-1)
    jumps = (np.where(stands[1:] != stands[:-1], total, relative) > most)[..., None]
    return ((planted[1:] != planted[:-1]) & jumps).reshape(-1, 4)


def _shortened(planted: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Contacts (F, 4) that are a row shorter at the ends that are marked between rows (F-1, 4)."""
    return planted & ~np.pad(ends, ((0, 1), (0, 0))) & ~np.pad(ends, ((1, 0), (0, 0)))


def _without_sliding(contacts: np.ndarray, points: np.ndarray, floor: Floor, speed: float, window: int) -> np.ndarray:
    """Contacts (F, 4) without the rows in which points (F, 4, 3) slide farther than pins can follow.

    In such a contact these are the rows in which the mean movement from row to row, over ``window`` rows before and
    after, exceeds ``speed``.
    """
    contacts = contacts.copy()
    for number, column in enumerate(contacts.T):
        for start, stop in true_intervals(column):
            path = floor.project(points[start:stop, number])
            lag = np.linalg.norm(path - path.mean(0) - pin_drift(path, floor), axis=1)
            if lag.max() > _MOST_LAG * floor.slip:
                rows = np.arange(stop - start)
                first, last = np.maximum(rows - window, 0), np.minimum(rows + window, len(rows) - 1)
                distance = np.linalg.norm(path[last] - path[first], axis=1)
                column[start:stop] = distance <= speed * np.maximum(last - first, 1)
    return contacts


def _without_steep_soles(source: Animation, window: int) -> np.ndarray:
    """The source's contacts (F, 4) without those of feet whose soles are too steep to stand on, as when kneeling.

    By the median angle over ``window`` rows before and after.
    """
    feet = source.pose()[1][:, [leg.ankle for leg in LEGS]]
    angles = np.arccos(np.clip(quaternions.rotate(feet, np.array([0.0, 0.0, 1.0]))[..., 2], -1, 1))
    padded = np.pad(angles, ((window, window), (0, 0)), mode="edge")
    angles = np.median(sliding_window_view(padded, 2 * window + 1, axis=0), axis=-1)
    return source.contacts & (angles[..., None] < [_STEEPEST_TOE, _STEEPEST_HEEL]).reshape(-1, 4)


def _without_fast_points(contacts: np.ndarray, points: np.ndarray, fastest: float, shortest: float) -> np.ndarray:
    """Contacts (F, 4) of at least ``shortest`` rows, without the rows in and around which points (F, 4, 3) move fast.

    ``fastest``: the farthest that a planted point moves from row to row.
    """
    if len(points) < 3:
        return contacts
    fast = contacts & (np.linalg.norm(np.gradient(points, axis=0), axis=-1) > fastest)
    margin = round(_FAST_MARGIN * shortest)
    around = sliding_window_view(np.pad(fast, ((margin, margin), (0, 0))), 2 * margin + 1, axis=0)
    return without_short_contacts(contacts & ~around.any(-1), shortest)


def _pelvis_shift(corrections: np.ndarray, planted: np.ndarray, rate: float) -> np.ndarray:
    """The pelvis' movement (F, 3) with what is slow in the corrections (F, 2, 3) of planted feet (F, 2).

    It removes what concerns the whole body: floating, sinking, and sliding over the floor on planted feet.
    """
    rows = np.flatnonzero(planted.any(1))
    if not len(rows):
        return np.zeros((len(corrections), 3))
    mean = mean_of_planted(corrections, planted)[rows]
    everywhere = np.stack([np.interp(np.arange(len(corrections)), rows, column) for column in mean.T], 1)
    return low_pass(everywhere, _PELVIS_CUTOFF, rate)


def _pelvis_drop(
    vectors: np.ndarray, reaches: np.ndarray, planted: np.ndarray, up: np.ndarray, rate: float
) -> np.ndarray:
    """How far the pelvis comes down (F,) to bring planted ankles, at vectors (F, 2, 3) from hips, into reach (F, 2)."""
    height = -vectors @ up
    horizontal = np.sum(vectors**2, -1) - height**2
    need = np.where(planted, height - np.sqrt(np.maximum(reaches**2 - horizontal, 0)), 0).max(1)
    need = np.clip(need, 0, _MOST_DROP * reaches.min())
    return smooth_maximum(need, _PELVIS_EASE * rate)
