"""The world of a clip that is in the scene already: people who are imported later join it, under its camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ... import quaternions
from ...motion import Motion
from . import camera, character
from .camera import SolvedCamera

_LENS_TOLERANCE = 0.01  # relative, between two estimates of one lens; set by hand
_RATE_TOLERANCE = 1e-3  # relative, between two speeds of one clip
# Metres: how far the camera's height counts against the size of the body as the measure of a person's size. A camera's
# height is off by as much per metre of distance as bodies are relative to their height, 0.1; set by hand.
_SCALE_PRIOR = 1.0
_MOST_SCALE = 2.0  # a body that must be scaled by more has another world; set by hand
_MOST_APART = 0.2  # of the distance to the camera: how far two cameras may put one person apart; set by hand


class NoSharedWorld(Exception):
    """People cannot join the world of their clip; the text is the reason, as part of a sentence."""


@dataclass(frozen=True)
class Alignment:
    """From a motion file's world to one in the scene: scale about the origin, rotation (4,), offset (3,) metres."""

    rotation: np.ndarray
    offset: np.ndarray
    scale: float

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (F, 3) of the file's world, in the scene's."""
        return quaternions.rotate(self.rotation, self.scale * points) + self.offset


def find(scene: bpy.types.Scene, people: Sequence[Motion]) -> bpy.types.Object | None:
    """The camera of the world in a scene that has other people of the same clip; the newest of several.

    None if there is none, if one of these people is in it already, and for files that do not name clip and person.
    """
    clip, numbers = people[0].meta.get("clip_sha256"), {person.meta.get("person") for person in people}
    if not clip or None in numbers:
        return None
    for obj in reversed(scene.objects):
        if obj.type == "CAMERA" and obj.wham_motion.clip_sha256 == clip:
            there = {
                other.wham_motion.person for other in character.imported_with(obj, scene) if other.type == "ARMATURE"
            }
            if there and not there & numbers:
                return obj
    return None


def align(
    world: bpy.types.Object, people: Sequence[Motion], solved: SolvedCamera, frames: np.ndarray, speed: float
) -> Alignment:
    """How people, with their own camera at scene frames (C,), come into the world of a camera in the scene.

    The floors become one, and the camera in the scene shows the people where the film does, as nearly as that allows:
    the two estimates of gravity differ a little. The camera's height over the floor is the measure of the scale.
    Raises NoSharedWorld if the two worlds are too different, and CharacterError if the camera lost some of its keys.
    """
    record = world.wham_motion
    if abs(speed / record.speed - 1) > _RATE_TOLERANCE:
        raise NoSharedWorld("its Slow Motion is set to another value")
    if abs(camera.lens_of(solved) / world.data.lens - 1) > _LENS_TOLERANCE:
        raise NoSharedWorld(f"its lens is {camera.lens_of(solved):.1f} mm instead of {world.data.lens:.1f} mm")
    path = character.CameraPath.of(world)
    (centres, to_world), (own_centres, own_to_world) = path.at(frames), camera.poses_of(solved)
    floor, usual = record.floor, record.world_scale
    turned = quaternions.without_jumps(quaternions.multiply(to_world, quaternions.inverse(own_to_world)))
    row = np.concatenate([np.searchsorted(solved.frame, each.frame[each.visible]) for each in people])
    points = np.concatenate([(each.trans + each.rest_joints[0])[each.visible].astype(float) for each in people])
    common = path.covers(frames[row])
    row, points = row[common], points[common]
    if not len(row):
        raise NoSharedWorld("the camera moves, and they are not seen at the same time")
    rotation = quaternions.heading(quaternions.normalized(turned[row].mean(0)))
    # As the camera in the scene sees the people: from its centre, in the directions in which the film shows them.
    seen = quaternions.rotate(turned[row], points - own_centres[row])
    own_height, height = float(np.median(points[:, 2] - seen[:, 2])), float(np.median(centres[row, 2] - floor))
    scale = (height * own_height + _SCALE_PRIOR**2 * usual) / (own_height**2 + _SCALE_PRIOR**2)
    if not 1 / _MOST_SCALE < scale / usual < _MOST_SCALE:
        raise NoSharedWorld(f"its camera is {own_height:.1f} m above the floor instead of {height:.1f} m")
    apart = (centres[row] + scale * seen - quaternions.rotate(rotation, scale * points))[:, :2]
    offset = np.median(apart, axis=0)
    distance = scale * float(np.median(np.linalg.norm(seen, axis=1)))
    if (error := float(np.median(np.linalg.norm(apart - offset, axis=1)))) > _MOST_APART * distance:
        raise NoSharedWorld(f"its path differs by {error:.1f} m under the two cameras")
    return Alignment(rotation, np.array([*offset, floor]), scale)


def extend(world: bpy.types.Object, solved: SolvedCamera, frames: np.ndarray, alignment: Alignment) -> None:
    """Key the camera of a world at those scene frames (C,) of another solution that lie before or after its own keys.

    Both paths join where the keys end. A static camera needs no keys.
    """
    path = character.CameraPath.of(world)
    if path.keys is None:
        return
    centres, rotations = camera.poses_of(solved)
    centres, rotations = alignment.points(centres), quaternions.multiply(alignment.rotation, rotations)
    known = path.keys.frames
    parts = [(known, path.locations, path.rotations)]
    for end, outside in ((0, frames < known[0]), (-1, frames > known[-1])):
        if outside.any():
            joint = int(np.abs(frames - known[end]).argmin())
            change = quaternions.multiply(path.rotations[end], quaternions.inverse(rotations[joint]))
            added = (
                frames[outside],
                centres[outside] - centres[joint] + path.locations[end],
                quaternions.multiply(change, rotations[outside]),
            )
            parts.insert(0 if end == 0 else len(parts), added)
    path.keys.frames, locations, rotations = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    replace(path, locations=locations, rotations=quaternions.without_jumps(rotations)).write()
