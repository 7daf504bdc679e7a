"""The option World: WHAM, the network's rollout as published: the trajectory refiner's rotations and path, unchanged.

Nothing is fitted, held to a floor or locked. Each person's rollout is moved rigidly: z up, planted feet at z = 0, the
first pelvis over the origin facing -y. The camera follows from it in each frame: it is placed so that the person
projects onto the picture, so it has the rollout's errors. After Shin et al., *WHAM*, CVPR 2024 (arXiv 2312.07531).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ...body.body import Body
from ..pose.types import WhamTrack
from .placement import Placed, hips_and_feet, rotation_vectors

CONTACT_ABOVE = 0.5  # WHAM's threshold for a foot point in contact
_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # from y up


def rollout_y_up(track: WhamTrack) -> tuple[np.ndarray, np.ndarray]:
    """Root orientations (F, 3, 3) and the midpoint of the hips (F, 3), metres, as the reference outputs them: y up."""
    flip = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
    return flip @ track.root_world, track.trans_world @ flip


def place_by_rollout(tracks: Sequence[WhamTrack], first_frames: Sequence[int], body: Body) -> list[Placed]:
    """All people in the world of the first person's rollout.

    first_frames: the frame of the common clock at which each person's track begins. Another person's rollout is
    translated and rotated about the vertical so that both cameras agree in the first frame that the two tracks share;
    without such a frame it begins over the origin, too.
    """
    placed = [_place(track, body) for track in tracks]
    for row in range(1, len(placed)):
        first = max(first_frames[0], first_frames[row])
        frame, lead_frame = first - first_frames[row], first - first_frames[0]
        if frame < len(placed[row].trans) and lead_frame < len(placed[0].trans):
            placed[row] = _aligned(placed[row], frame, placed[0], lead_frame)
    return placed


def _place(track: WhamTrack, body: Body) -> Placed:
    betas = np.median(track.betas, 0)
    rest = body.rest_joints(torch.from_numpy(betas).to(body.smpl.v_template.device)).cpu().numpy()
    hips, feet = hips_and_feet(track.poses, body, betas, rest[0])  # camera axes
    root_cam = track.poses[:, 0].astype(np.float64)
    root_y_up, hips_y_up = rollout_y_up(track)
    root = _TO_Z_UP @ root_y_up.astype(np.float64)
    to_world = root @ root_cam.mT  # (F, 3, 3) from camera axes
    pelvis = hips_y_up @ _TO_Z_UP.T - np.einsum("fij,fj->fi", to_world, hips)

    front = root[0, :, 2]  # SMPL faces z
    heading = _about_z(-np.pi / 2 - np.arctan2(front[1], front[0]))
    root, to_world, pelvis = heading @ root, heading @ to_world, pelvis @ heading.T
    heights = (pelvis[:, None] + np.einsum("fij,fkj->fki", to_world, feet))[..., 2]
    down = track.contacts > CONTACT_ABOVE
    floor = np.median(heights[down]) if down.any() else heights.min()
    pelvis = pelvis - [pelvis[0, 0], pelvis[0, 1], floor]

    poses = track.poses.astype(np.float64)
    poses[:, 0] = root
    to_camera = to_world.mT
    camera_t = track.trans_cam - hips - np.einsum("fij,fj->fi", to_camera, pelvis)
    return Placed(
        poses=rotation_vectors(poses).astype(np.float32),
        trans=(pelvis - rest[0]).astype(np.float32),
        betas=betas,
        contacts=np.clip(track.contacts, 0, 1).astype(np.float32),
        rest_joints=rest,
        camera_R=to_camera.astype(np.float32),
        camera_t=camera_t.astype(np.float32),
    )


def _aligned(person: Placed, frame: int, lead: Placed, lead_frame: int) -> Placed:
    """A person moved rigidly so that the cameras of one frame agree, as far as rotating about the vertical allows."""
    to_lead = lead.camera_R[lead_frame].T @ person.camera_R[frame]  # from the person's world to the lead's
    heading = _about_z(np.arctan2(to_lead[1, 0] - to_lead[0, 1], to_lead[0, 0] + to_lead[1, 1]))
    in_camera = person.camera_R[frame] @ (person.trans[frame] + person.rest_joints[0]) + person.camera_t[frame]
    pelvis = lead.camera_R[lead_frame].T @ (in_camera - lead.camera_t[lead_frame])
    shift = pelvis - heading @ (person.trans[frame] + person.rest_joints[0])
    shift[2] = 0
    poses = person.poses.reshape(len(person.poses), 24, 3).copy()
    poses[:, 0] = (Rotation.from_matrix(heading) * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    camera_R = person.camera_R @ heading.T
    rest = person.rest_joints[0]
    return Placed(
        poses=poses.reshape(-1, 72).astype(np.float32),
        trans=((person.trans + rest) @ heading.T + shift - rest).astype(np.float32),
        betas=person.betas,
        contacts=person.contacts,
        rest_joints=person.rest_joints,
        camera_R=camera_R.astype(np.float32),
        camera_t=(person.camera_t - camera_R @ shift).astype(np.float32),
    )


def _about_z(angle: float) -> np.ndarray:
    """Rotation (3, 3) about the vertical, radians."""
    return Rotation.from_rotvec([0.0, 0.0, angle]).as_matrix()
