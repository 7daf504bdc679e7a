"""Our ViTPose and HMR2.0, their crops and the decoding of heatmaps against what the reference implementations gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.parity.conftest import depth_of, reference_weights, seed_of
from tests.parity.test_reference import PIXELS, compare
from wham_blender.body.rotations import matrix_from_columns
from wham_blender.models.hmr2 import HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.pipeline.people.person_crops import (
    average_flipped,
    hmr2_crop,
    keypoints,
    normalise,
    vitpose_crop,
    vitpose_windows,
)


def outputs(file: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The file's inputs and the rest."""
    with np.load(file, allow_pickle=False) as archive:
        data = dict(archive)
    inputs = {name: value for name, value in data.items() if name.startswith(("in_", "decode_in_"))}
    return inputs, {name: value for name, value in data.items() if name not in inputs}


@torch.inference_mode()
def test_hmr2(hmr2_file: Path) -> None:
    given, reference = outputs(hmr2_file)
    tensors = reference_weights("hmr2", seed_of(hmr2_file), depth_of(hmr2_file))
    tensors["smpl_head.init_body_pose"] = torch.from_numpy(reference.pop("init_body_pose"))
    tensors["smpl_head.init_cam"] = torch.tensor([[0.9, 0.0, 0.0]])
    model = HMR2.from_state_dict(tensors, depth_of(hmr2_file))
    maps: list[torch.Tensor] = []
    model.backbone.register_forward_hook(lambda module, inputs, tokens: maps.append(tokens))
    crops = normalise(torch.from_numpy(np.stack([hmr2_crop(given["in_image_rgb"], box) for box in given["in_boxes"]])))
    output = model(crops)
    poses = matrix_from_columns(output.pose.unflatten(-1, (24, 6)))
    ours = {
        "norm_crops_sample": crops[..., ::8, ::8], "features": output.features, "global_orient": poses[:, :1],
        "body_pose": poses[:, 1:], "betas": output.betas, "cam": output.cam,
        "backbone_sample": maps[0].mT.unflatten(-1, (16, 12))[:, ::40],
    }  # fmt: skip
    compare({name: value.numpy() for name, value in ours.items()}, reference, {})


@torch.inference_mode()
def test_vitpose(vitpose_file: Path) -> None:
    given, reference = outputs(vitpose_file)
    depth = depth_of(vitpose_file)
    model = ViTPose.from_state_dict(reference_weights("vitpose", seed_of(vitpose_file), depth), depth)
    centres, sizes = vitpose_windows(given["in_xyxy"])
    windows = zip(centres, sizes, strict=True)
    crops = normalise(torch.from_numpy(np.stack([vitpose_crop(given["in_image_rgb"], *window) for window in windows])))
    alone, mirrored = model(torch.cat([crops, crops.flip(-1)])).split(len(crops))
    ours = {
        "center": centres, "scale": sizes / 200, "input_sample": crops[..., ::8, ::8].numpy(),
        "heatmaps": alone.numpy(), "heatmaps_flip_avg": average_flipped(alone, mirrored).numpy(),
        # Random heatmaps are nearly flat: differences of 1e-5 move their peaks by pixels. So both decodings start from
        # the reference's own maps.
        "keypoints": keypoints(reference["heatmaps_flip_avg"], centres, sizes),
    }  # fmt: skip
    if "decode_keypoints" in reference:
        decoded = given["decode_in_heatmaps"], given["decode_in_center"], 200 * given["decode_in_scale"]
        ours["decode_keypoints"] = keypoints(*decoded)
    compare(ours, reference, {"keypoints": PIXELS, "decode_keypoints": PIXELS})


def test_a_flat_heatmap_stops_nothing() -> None:
    singular = 0.8 + np.random.default_rng(2).uniform(-1e-6, 1e-6, (1, 17, 64, 48))  # as NumPy's solve calls it
    for flat in (singular, np.full((1, 17, 64, 48), 0.5)):
        found = keypoints(flat.astype(np.float32), np.array([[100.0, 100.0]]), np.array([[192.0, 256.0]]))
        assert np.isfinite(found).all()
