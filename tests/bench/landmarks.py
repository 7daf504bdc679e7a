"""What the landmark net is off by on a filmed person, beside what the training's simulation draws.

``build.py bench landmarks --clips FOLDER --mocap FOLDER [--clip NAME]``: FOLDER of clips as the bench of accuracy takes
it; motion capture as build.py train takes it. The sizes of the simulated errors (tools/training/simulate.py) are set by
the first camera alone; a clip that is to judge the weights must not be looked at with this.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from tests.bench.accuracy import LIMBS, MARKERS, OTHERS, marker_rows, read_camera, read_markers, watched
from tests.bench.report import report
from tools.training import simulate
from tools.training.views import ViewSampler
from wham_blender.models.lifter import LifterInput, fit_translation
from wham_blender.pipeline.pose.lifter_features import lifter_input

NAMES = {**dict(zip(LIMBS, MARKERS, strict=True)), **OTHERS}  # of the points that have markers
KINDS = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Nose", "Heel", "BigToe")
USUAL = 0.68  # of the errors are smaller than what is shown: one sigma, whatever the tails
SAMPLES = 4096  # simulated views


def filmed(folder: Path, name: str) -> tuple[LifterInput, Tensor]:
    """What the pipeline saw of a clip's person, F frames, and the markers (F, 25, 3) hip-centred in the look's axes."""
    clip = folder / name
    markers, camera = read_markers(next(folder.glob("*.trc"))), read_camera(next(folder.glob("*.toml")), clip)
    person, seen = watched(clip, refine=False)
    rows = marker_rows(seen, person, len(next(iter(markers.values()))))
    look, turn = lifter_input(seen, camera.camera_K)
    true = torch.zeros(len(seen), simulate.POINTS, 3)
    for point, marker in NAMES.items():
        true[:, point] = torch.from_numpy(markers[marker][rows] @ camera.rotation.T).float()
    true = true @ turn.mT
    return look, true - true[:, 11:13].mean(1, keepdim=True)


def simulated(mocap: Path) -> tuple[LifterInput, Tensor]:
    """The same of training views of the clips kept for validation."""
    body = simulate.TrainingBody()
    library = simulate.Library.of(simulate.split(mocap, body)[1])
    views = ViewSampler(library, body, simulate.LandmarkErrors.load(simulate.ERRORS_FILE), seed=1, perturbed=False)
    with torch.no_grad():
        view, _, _, true = views.draw(SAMPLES)
    return view.lifter_input, true[:, 24:] @ view.to_input_axes.mT


def errors(look: LifterInput, true: Tensor) -> dict[str, list[float]]:
    """By kind of joint the usual size of what is off.

    In 2D (mm where the person stands), in 3D across and in depth (mm), in the length of the bone that ends there (%),
    its tilt against the picture's plane and its turn in it (degrees, by as much of it as lies in the plane).
    """
    marked = torch.zeros(simulate.POINTS)
    marked[list(NAMES)] = 1
    weight = look.mask[..., None] * marked[:, None]
    rays = look.keypoints * look.half_extent[..., None]
    there = true + fit_translation(rays, true, weight)[:, None]
    flat = 1000 * (rays * there[..., 2:] - there[..., :2])
    deep = 1000 * (look.landmarks - true)
    seen, real = simulate.bones(look.landmarks), simulate.bones(true)
    length = 100 * (seen.norm(dim=-1) / real.norm(dim=-1) - 1)
    across = real[..., :2].norm(dim=-1) / real.norm(dim=-1)
    tilt = torch.rad2deg(_angle(seen[..., 2], seen[..., :2].norm(dim=-1), real[..., 2], real[..., :2].norm(dim=-1)))
    turn = torch.rad2deg(_angle(seen[..., 1], seen[..., 0], real[..., 1], real[..., 0])) * across
    found = {}
    for kind in KINDS:
        points = [point for point, marker in NAMES.items() if marker.endswith(kind)]
        sure = weight[:, points, 0] > 0
        values = (
            flat[:, points][sure], deep[:, points, :2], deep[:, points, 2], length[:, points], tilt[:, points],
            turn[:, points],
        )  # fmt: skip
        found[kind] = [float(each.abs().flatten().quantile(USUAL)) for each in values]
    return found


def _angle(y: Tensor, x: Tensor, other_y: Tensor, other_x: Tensor) -> Tensor:
    """From the other direction to this one, -pi..pi."""
    return torch.atan2(y * other_x - x * other_y, x * other_x + y * other_y)


def main() -> None:
    """Measure a clip and the simulation, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--clip", default="cam01.mp4")
    parser.add_argument("--mocap", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tables = {args.clip: filmed(args.clips, args.clip), "simulated": simulated(args.mocap)}
    rows = [[kind, source, *values] for source, each in tables.items() for kind, values in errors(*each).items()]
    columns = ["joint", "of", "2D mm", "3D across mm", "3D depth mm", "bone %", "tilt", "turn"]
    report("What the landmark net is off by: 68 of 100 are off by less", columns, rows, args.json)


if __name__ == "__main__":
    main()
