"""Hands of real clips, which have no truth: how calm they are, whether limits are kept, and pictures to look at.

``build.py bench hand_clips CLIP ... [--start FRAME] [--end FRAME] [--folder FOLDER] [--json FILE]``. Of each clip's
main person, by side: % of the frames in which the hand is seen; the largest rotation of a finger joint against its
parent, and of the wrist against the forearm, from one frame to the next, degrees, and what 95 of 100 frames are below;
the most by which an angle of a finger is beyond its limits, degrees. The folder, out/hand_clips unless another is
named, gets a picture of each clip: eight frames of the film around each hand, beside the body in the same view.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from tests.bench.report import Cell, report
from tools.training.painter import HandColours, Painter
from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.motion import Motion, forward_kinematics, rotation_matrices
from wham_blender.pipeline.clip import video_reader
from wham_blender.pipeline.pose.hand_skeleton import HIGH, LOW, HandSkeleton, of_body
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run

FOLDER = Path(__file__).parents[2] / "out" / "hand_clips"
SIDES = ("left", "right")
_PICTURES, _TILE = 8, 220  # frames of a sheet, and pixels of a side of each picture in it
_SHOWN = 0.32  # metres, side of what a picture shows
_ELBOWS, _WRISTS = (18, 19), (20, 21)  # SMPL's joints


def angles_of(skeleton: HandSkeleton, joints: np.ndarray) -> np.ndarray:
    """The angles (F, ANGLES) that give joints (F, 15, 3, 3): the inverse of `HandSkeleton.rotations`."""
    angles = []
    for finger, axes in enumerate(skeleton.axes):
        for joint in range(3):
            own = [axis for at, axis in axes if at == joint]
            frame = np.zeros((3, 3))
            frame[:, : len(own)] = np.array(own).T
            for column in range(len(own), 3):  # completed to three perpendicular axes
                rest = np.eye(3) - frame @ frame.T
                frame[:, column] = rest[:, np.linalg.norm(rest, axis=0).argmax()]
                frame[:, column] /= np.linalg.norm(frame[:, column])
            hand = np.linalg.det(frame)
            local = frame.T @ joints[:, 3 * finger + joint] @ frame  # of a left-handed frame: all angles reversed
            angles.append(hand * Rotation.from_matrix(local).as_euler("XYZ")[:, : len(own)])
    return np.concatenate(angles, 1) + skeleton.rest


def steps(rotations: np.ndarray) -> np.ndarray:
    """Degrees (F - 1,) from one frame to the next of rotations (F, ..., 3, 3), the largest of a frame's."""
    between = rotations[:-1].swapaxes(-1, -2) @ rotations[1:]
    angles = Rotation.from_matrix(between.reshape(-1, 3, 3)).magnitude()
    return np.degrees(angles.reshape(len(between), -1).max(1))


def measure(person: Motion, skeletons: list[HandSkeleton]) -> list[list[Cell]]:
    """A row of each hand, without the clip's name."""
    assert person.hand_poses is not None and person.hand_confidence is not None
    _, rotations = forward_kinematics(person.poses, person.trans, person.rest_joints)
    rows: list[list[Cell]] = []
    for side, skeleton in enumerate(skeletons):
        joints = rotation_matrices(person.hand_poses[:, 15 * side : 15 * side + 15])
        forearm, wrist = rotations[:, _ELBOWS[side]], rotations[:, _WRISTS[side]]
        finger_steps, wrist_steps = steps(joints), steps(forearm.swapaxes(1, 2) @ wrist)
        angles = angles_of(skeleton, joints)
        beyond = np.degrees(np.maximum(angles - HIGH, LOW - angles).max())
        rows.append([
            SIDES[side], len(person), 100 * float((person.hand_confidence[:, side] > 0).mean()),
            float(finger_steps.max()), float(np.quantile(finger_steps, 0.95)),
            float(wrist_steps.max()), float(np.quantile(wrist_steps, 0.95)), float(max(beyond, 0.0)),
        ])  # fmt: skip
    return rows


@torch.inference_mode()
def draw(person: Motion, clip: Path, body: Body, path: Path) -> None:
    """Write the sheet: for each of eight frames film and body around the left hand, then around the right one."""
    rows = np.linspace(0, len(person) - 1, _PICTURES + 2).astype(int)[1:-1]
    assert person.hand_poses is not None
    local, fingers = (
        torch.from_numpy(rotation_matrices(values[rows].reshape(len(rows), -1, 3))).float()
        for values in (person.poses, person.hand_poses)
    )
    shape = torch.from_numpy(np.asarray(person.betas, np.float32)).expand(len(rows), -1)
    vertices = body.vertices(local, shape, hand_poses=fingers).numpy() + person.trans[rows, None]
    places, _ = forward_kinematics(person.poses, person.trans, person.rest_joints)
    painter = Painter(body, np.random.default_rng(0), _TILE)
    painter.relight()
    colours = HandColours(body).on(painter.dress())
    wanted, tiles = dict(zip(person.frame[rows].tolist(), range(len(rows)), strict=True)), {}
    for frame in video_reader.read_frames(clip, end=int(person.frame[rows[-1]]), every=True):
        if frame.number in wanted and frame.image is not None:
            number = wanted[frame.number]
            view = person.camera_R[rows[number]], person.camera_t[rows[number]], person.camera_K
            mesh = vertices[number] @ view[0].T + view[1]
            hands = [places[rows[number], 22 + side] @ view[0].T + view[1] for side in (0, 1)]
            tiles[number] = np.concatenate(
                [_tile(frame.image, mesh, hand, view[2], (painter, colours)) for hand in hands], 1
            )
            text = f"frame {frame.number}"
            cv2.putText(tiles[number], text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate([tiles[number] for number in sorted(tiles)])[..., ::-1])


def _tile(
    image: np.ndarray, mesh: np.ndarray, hand: np.ndarray, camera_K: np.ndarray, paint: tuple[Painter, np.ndarray]
) -> np.ndarray:
    """Film and body beside each other, (_TILE, 2 * _TILE, 3) uint8, around a hand (3,); mesh (V, 3): camera axes."""
    scale = _TILE / (_SHOWN * camera_K[0, 0] / hand[2])
    to_tile = np.array([[scale, 0, _TILE / 2], [0, scale, _TILE / 2], [0, 0, 1.0]])
    to_tile[:2, 2] -= scale * (camera_K @ hand)[:2] / hand[2]
    film = cv2.warpAffine(image, to_tile[:2], (_TILE, _TILE), flags=cv2.INTER_LINEAR)
    pixels = mesh @ (to_tile @ camera_K).T
    pixels = pixels[:, :2] / np.maximum(pixels[:, 2:], 0.05)
    painter, colours = paint
    return np.concatenate([film, painter.paint(mesh, pixels, colours, np.full_like(film, 60))], 1)


def main() -> None:
    """Run the pipeline on each clip, print the table and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--start", type=int, default=1, help="first frame")
    parser.add_argument("--end", type=int, help="last frame")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    body = Body.load(weights.find("body").path)
    rows: list[list[Cell]] = []
    for clip in options.clips:
        output, job_folder = options.folder / f"{clip.stem}.npz", options.folder / f"job_{clip.stem}"
        job = Job(clip, output, person="MAIN", start=options.start, end=options.end, resume=job_folder)
        person = motion.load(run(job, lambda message: None))[0]
        rows += [[clip.stem, *row] for row in measure(person, of_body(body, person.betas))]
        draw(person, clip, body, options.folder / f"{clip.stem}.png")
    columns = ["clip", "hand", "frames", "seen %", "finger step", "95th", "wrist step", "95th ", "beyond limits"]
    report("Hands of clips, degrees", columns, rows, options.json)


if __name__ == "__main__":
    main()
