"""Errors of the landmark network on a filmed person, beside those of the simulated training views.

``build.py bench landmarks --clips FOLDER [--mocap FOLDERS] [--clip NAME]``: FOLDER of clips as in the bench
``accuracy``; motion capture as for build.py train. The sizes of the simulated errors (tools/training/simulate.py) are set by the
first camera alone; do not run this on a clip that evaluates the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tests.bench.accuracy import LIMBS, MARKERS, OTHERS, marker_rows, read_camera, read_markers, run_job
from tests.bench.report import report
from tools.training import mocap, simulate
from tools.training.views import ViewSampler
from wham_blender.models.lifter import LifterInput, fit_translation
from wham_blender.pipeline.pose.lifter_features import lifter_input

NAMES = {**dict(zip(LIMBS, MARKERS, strict=True)), **OTHERS}  # of the points that have markers
KINDS = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Nose", "Heel", "BigToe")
QUANTILE = 0.68  # of the absolute errors: one standard deviation of a Gaussian, robust to outliers
SAMPLES = 4096  # simulated views


def filmed(folder: Path, name: str) -> tuple[LifterInput, Tensor]:
    """The lifter's input of a clip's person, F frames, and the markers (F, 25, 3) hip-centred in the input's axes."""
    clip = folder / name
    markers, camera = read_markers(next(folder.glob("*.trc"))), read_camera(next(folder.glob("*.toml")), clip)
    person, seen = run_job(clip, refine=False)
    rows = marker_rows(seen, person, len(next(iter(markers.values()))))
    inputs, to_input_axes = lifter_input(seen, camera.camera_K)
    true = torch.zeros(len(seen), simulate.POINTS, 3)
    for point, marker in NAMES.items():
        true[:, point] = torch.from_numpy(markers[marker][rows] @ camera.rotation.T).float()
    true = true @ to_input_axes.mT
    return inputs, true - true[:, 11:13].mean(1, keepdim=True)


def simulated(folders: Sequence[Path]) -> tuple[LifterInput, Tensor]:
    """The lifter's input and true points (N, 25, 3) of simulated views of the validation clips."""
    body = simulate.TrainingBody()
    library = simulate.Library.of(simulate.split(folders, body)[1])
    views = ViewSampler(library, body, simulate.LandmarkErrors.load(simulate.ERRORS_FILE), seed=1, perturbed=False)
    with torch.no_grad():
        view, _, _, true = views.draw(SAMPLES)
    return view.lifter_input, true[:, 24:] @ view.to_input_axes.mT


def errors(inputs: LifterInput, true: Tensor) -> dict[str, list[float]]:
    """Error quantiles by kind of joint.

    In 2D (mm at the person's depth), in 3D in the image plane and in depth (mm), length of the bone that ends there
    (%), its tilt out of the image plane and its rotation in it (degrees, the latter scaled by its projected length).
    """
    marked = torch.zeros(simulate.POINTS)
    marked[list(NAMES)] = 1
    weight = inputs.mask[..., None] * marked[:, None]
    rays = inputs.keypoints * inputs.half_extent[..., None]
    there = true + fit_translation(rays, true, weight)[:, None]
    keypoint_error = 1000 * (rays * there[..., 2:] - there[..., :2])
    landmark_error = 1000 * (inputs.landmarks - true)
    observed, real = simulate.bones(inputs.landmarks), simulate.bones(true)
    length = 100 * (observed.norm(dim=-1) / real.norm(dim=-1) - 1)
    across = real[..., :2].norm(dim=-1) / real.norm(dim=-1)
    tilt = torch.rad2deg(
        _angle(observed[..., 2], observed[..., :2].norm(dim=-1), real[..., 2], real[..., :2].norm(dim=-1))
    )
    rotation = torch.rad2deg(_angle(observed[..., 1], observed[..., 0], real[..., 1], real[..., 0])) * across
    by_kind = {}
    for kind in KINDS:
        points = [point for point, marker in NAMES.items() if marker.endswith(kind)]
        confident = weight[:, points, 0] > 0
        values = (
            keypoint_error[:, points][confident], landmark_error[:, points, :2], landmark_error[:, points, 2],
            length[:, points], tilt[:, points],
            rotation[:, points],
        )  # fmt: skip
        by_kind[kind] = [float(each.abs().flatten().quantile(QUANTILE)) for each in values]
    return by_kind


def _angle(y: Tensor, x: Tensor, other_y: Tensor, other_x: Tensor) -> Tensor:
    """Angle from the other direction to this one, -pi..pi."""
    return torch.atan2(y * other_x - x * other_y, x * other_x + y * other_y)


def main() -> None:
    """Measure a clip and the simulation, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--clip", default="cam01.mp4")
    mocap.add_option(parser)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tables = {args.clip: filmed(args.clips, args.clip), "simulated": simulated(args.mocap)}
    rows = [[kind, source, *values] for source, each in tables.items() for kind, values in errors(*each).items()]
    columns = ["joint", "source", "2D mm", "3D in plane mm", "3D depth mm", "bone %", "tilt deg", "rotation deg"]
    report("Errors of the landmark network: 68 % quantiles", columns, rows, args.json)


if __name__ == "__main__":
    main()
