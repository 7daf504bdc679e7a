"""Makes the synthetic clips (tests/synthetic/clips) and their truth: the open body, animated by mocap, in Blender.

    python -m tests.synthetic.make --mocap FOLDER [NAME ...]        (in the environment that trains)

The motion is held out from training (tools/training/mocap.py). Cameras are static, pan, travel and are hand-held.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import build
from tests.synthetic.truth import FOLDER, FPS, SIZE, Truth
from tools.training import mocap, simulate
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.motion import forward_kinematics, rotation_matrices

Y_UP_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
WIDE = 0.75 * SIZE[0]  # focal length in pixels: a phone's main lens, 27 mm full-frame equivalent
LONG = 1.2 * SIZE[0]

Trajectory = Callable[[np.ndarray], np.ndarray]  # seconds (F,) to positions (F, 3)


@dataclass(frozen=True)
class Actor:
    """A person: a take of motion capture, its start position and heading."""

    take: str
    start: tuple[float, float]  # metres, x and y of the first frame's pelvis
    yaw: float  # degrees about z
    first: int = 0
    seed: int = 0  # of the random betas


@dataclass(frozen=True)
class Scene:
    """What a clip shows and how it is filmed."""

    place: str  # room or lawn
    actors: tuple[Actor, ...]
    frames: int
    position: Trajectory
    target: Trajectory
    shake: tuple[float, float] = (0.0, 0.0)  # of a hand-held camera: degrees and metres, root mean square
    focal: float = WIDE


def still(x: float, y: float, z: float) -> Trajectory:
    """A constant position."""
    return lambda time: np.tile([x, y, z], (len(time), 1)).astype(float)


def along(start: tuple[float, float, float], velocity: tuple[float, float, float]) -> Trajectory:
    """A position with constant velocity, metres a second."""
    return lambda time: np.array(start) + np.outer(time, velocity)


def arc(radius: float, height: float, start: float, speed: float) -> Trajectory:
    """A circle around the z axis, start in degrees, speed in degrees a second."""
    angle = lambda time: np.radians(start + speed * time)  # noqa: E731
    return lambda time: np.stack(
        [radius * np.cos(angle(time)), radius * np.sin(angle(time)), np.full(len(time), height)], 1
    )


WALK = Actor("005_01", (-2.2, 0.0), 90, seed=1)  # to the right
STROLL = Actor("007_03", (1.6, 1.2), -90, seed=2)  # to the left, behind
SCENES = {
    "room_static": Scene("room", (WALK,), 100, still(-0.3, -4.4, 1.5), still(-0.7, 0, 0.9)),
    "room_pan": Scene("room", (WALK,), 150, still(0.3, -3.6, 1.5), along((-1.9, 0, 0.95), (0.85, 0, 0))),
    "lawn_dolly": Scene(
        "lawn", (WALK,), 100, along((-2.0, -4.5, 1.3), (0.9, 0.05, 0)), along((-2.0, 0, 0.9), (0.9, 0, 0)), focal=LONG
    ),
    "lawn_pair": Scene(
        "lawn", (WALK, STROLL), 100, along((-0.8, -5.5, 1.5), (0.3, 0.1, 0)), along((-0.6, 0, 0.9), (0.3, 0, 0)),
        shake=(0.3, 0.01),
    ),
    "long_handheld": Scene(
        "room", (Actor("005_12", (0, 0), 0, seed=4),), 320, arc(3.8, 1.5, -140, 8), still(0, 0, 0.95),
        shake=(0.35, 0.012),
    ),
}  # fmt: skip


def shake(frames: int, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Shake of a hand-held camera (F, 3): sines of 0.2 to 6 Hz, amplitude ~ 1/f, ``amount`` is the RMS of each axis."""
    time = np.arange(frames) / FPS
    hertz = np.geomspace(0.2, 6.0, 14)
    waves = np.sin(2 * np.pi * (hertz * time[:, None])[..., None] + rng.uniform(0, 2 * np.pi, (14, 3)))
    moved = (waves / hertz[:, None]).sum(1)
    return amount * moved / moved.std(0) - amount * moved[0] / moved.std(0)


def film(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera rotations (F, 3, 3), OpenCV's axes, and translations (F, 3) of a scene's camera."""
    time = np.arange(scene.frames) / FPS
    rng = np.random.default_rng(7)
    centre = scene.position(time) + shake(scene.frames, scene.shake[1], rng)
    ahead = scene.target(time) - scene.position(time)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    rotation = np.stack([right, np.cross(ahead, right), ahead], 1)
    shaking = np.radians(shake(scene.frames, scene.shake[0], rng))
    rotation = Rotation.from_rotvec(shaking).as_matrix() @ rotation
    return rotation, -np.einsum("fij,fj->fi", rotation, centre)


def play(actor: Actor, frames: int, folder: Path, body: Body) -> dict[str, np.ndarray]:
    """Poses, trajectory, betas, contacts and keypoints of an actor, and the mesh's vertices (F, V, 3)."""
    training = simulate.TrainingBody()
    path = next(path for path in folder.glob("*/*") if path.stem == actor.take)
    read = mocap.read_bvh if path.suffix == ".bvh" else mocap.read_amc
    mean = training.rest.double().numpy()
    clip = mocap.to_body(read(path), mean, training.foot_points)
    rows = slice(actor.first, actor.first + frames)
    poses, contacts = clip.poses[rows].reshape(-1, 24, 3).copy(), clip.contacts[rows]
    to_world = Rotation.from_euler("z", actor.yaw, degrees=True).as_matrix() @ Y_UP_TO_Z_UP
    poses[:, 0] = (Rotation.from_matrix(to_world) * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    pelvis = (clip.trans[rows] + mean[0]) @ to_world.T
    betas = torch.from_numpy(np.random.default_rng(actor.seed).normal(0, 0.7, 10)).float()
    rest = body.rest_joints(betas).numpy()
    # Scale the trajectory by the leg length, so that feet do not slide.
    actor_leg, mean_leg = (np.linalg.norm(joints[[4, 7]] - joints[[1, 4]], axis=1).sum() for joints in (rest, mean))
    pelvis *= actor_leg / mean_leg
    pelvis[:, :2] += actor.start - pelvis[0, :2]
    trans = pelvis - rest[0]
    rotations = torch.from_numpy(rotation_matrices(poses)).float()
    shapes = betas.expand(len(poses), -1)
    with torch.inference_mode():
        points = body.landmarks(rotations, shapes)
        vertices = np.concatenate([body.vertices(rotations[[row]], betas[None]).numpy() for row in range(len(poses))])
    shift = trans + points.offset.numpy()
    feet = points.feet.numpy() + shift[:, None]
    lift = np.percentile(feet[..., 2].min(1), 3) * np.array([0, 0, 1.0])
    vectors = poses.reshape(-1, 72)
    return {
        "poses": vectors, "trans": trans - lift, "betas": betas.numpy(), "contacts": contacts, "feet": feet - lift,
        "joints": forward_kinematics(vectors, trans - lift, rest)[0],
        "keypoints": points.joints[:, :17].numpy() + (shift - lift)[:, None],
        "vertices": vertices + (trans - lift)[:, None],
    }  # fmt: skip


def make(name: str, mocap_folder: Path) -> None:
    """Compute a scene's truth and render its clip in Blender."""
    scene = SCENES[name]
    body = Body.load(weights.find("body").path)
    actors = [play(actor, scene.frames, mocap_folder, body) for actor in scene.actors]
    frames = min(len(actor["poses"]) for actor in actors)
    if frames < scene.frames:
        raise SystemExit(f"{name}: the motion has {frames} frames only")
    camera_R, camera_t = film(scene)
    camera_K = np.array([[scene.focal, 0, SIZE[0] / 2], [0, scene.focal, SIZE[1] / 2], [0, 0, 1]])
    people = {key: np.stack([actor[key] for actor in actors]) for key in actors[0] if key != "vertices"}
    FOLDER.mkdir(exist_ok=True)
    Truth(**people, camera_R=camera_R, camera_t=camera_t, camera_K=camera_K).save(FOLDER / f"{name}.npz")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "meshes.npz")
        vertices = np.stack([actor["vertices"] for actor in actors]).astype(np.float32)
        joint = body.smpl.lbs_weights.argmax(1).numpy()
        np.savez(
            arrays, allow_pickle=False, vertices=vertices, faces=body.faces, joint=joint, camera_R=camera_R,
            camera_t=camera_t, camera_K=camera_K,
        )  # fmt: skip
        render = Path(__file__).with_name("render.py")
        command: list[str | Path] = [
            build.blender(),
            render,
            arrays,
            scene.place,
            FOLDER / f"{name}.mp4",
            *map(str, SIZE),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"{name}: {frames} frames, {(FOLDER / f'{name}.mp4').stat().st_size / 1e3:.0f} kB", flush=True)


def main() -> None:
    """Make the named clips, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mocap", type=Path, required=True, help="motion capture as for build.py train")
    parser.add_argument("names", nargs="*", choices=[*SCENES, []], help="default: all")
    options = parser.parse_args()
    for name in options.names or SCENES:
        make(name, options.mocap)


if __name__ == "__main__":
    main()
