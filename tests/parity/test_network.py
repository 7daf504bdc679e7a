"""WHAM's network at other sizes, in chunks, fused, and with weights that are not its own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from wham_blender.body.body import Body
from wham_blender.models.wham import WHAM, Previous, WhamFrames, WhamOutput, WhamState
from wham_blender.pipeline.pose.types import View, WhamInput
from wham_blender.pipeline.pose.wham_inference import camera_angular_velocity, run_wham
from wham_blender.weights import WeightsError

SMALL = {"width": 48, "layers": 2, "d_feat": 20, "integrator_width": 40, "refiner_width": 24, "refiner_layers": 3}
PEOPLE, FRAMES = 2, 30


@pytest.fixture(scope="module")
def small() -> WHAM:
    torch.manual_seed(0)
    return WHAM(**SMALL).eval()


@pytest.fixture(scope="module")
def clip() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    return {
        "x": normal(PEOPLE, FRAMES, 37), "mask": normal(PEOPLE, FRAMES, 17) > 1,
        "cam_angvel": normal(PEOPLE, FRAMES, 6), "features": normal(PEOPLE, FRAMES, 20),
        "init_kp": normal(PEOPLE, 88), "init_smpl": normal(PEOPLE, 24, 6), "init_root": normal(PEOPLE, 6),
    }  # fmt: skip


def run(
    model: WHAM, clip: dict[str, Tensor], rows: slice = slice(None), state: WhamState | None = None,
    previous: Previous | None = None,
) -> tuple[WhamOutput, WhamState]:  # fmt: skip
    state = state or model.start(clip["init_kp"], clip["init_smpl"], clip["init_root"])
    frames = WhamFrames(*(clip[name][:, rows] for name in WhamFrames._fields))
    return model(frames, state, previous=previous)


def assert_same(ours: WhamOutput, expected: WhamOutput) -> None:
    for name, value, other in zip(WhamOutput._fields, ours, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=2e-6, msg=f"{name} differs")


def test_state_carries_from_chunk_to_chunk(small: WHAM, clip: dict[str, Tensor]) -> None:
    whole, _ = run(small, clip)
    first, state = run(small, clip, slice(0, 11))
    second, _ = run(small, clip, slice(11, None), state)
    assert_same(WhamOutput(*(torch.cat(parts, 1) for parts in zip(first, second, strict=True))), whole)


def previous_of(clip: dict[str, Tensor], output: WhamOutput) -> Previous:
    def shifted(first: Tensor, outputs: Tensor) -> Tensor:
        return torch.cat([first[:, None], outputs[:, :-1]], 1)

    return Previous(
        shifted(clip["init_kp"][:, :51], output.keypoints),
        shifted(clip["init_root"], output.root),
        shifted(clip["init_smpl"].flatten(1), output.pose),
    )


def test_fused_on_its_own_outputs_is_frame_by_frame(small: WHAM, clip: dict[str, Tensor]) -> None:
    whole, _ = run(small, clip)
    assert_same(run(small, clip, previous=previous_of(clip, whole))[0], whole)


def test_both_ways_train(small: WHAM, clip: dict[str, Tensor]) -> None:
    gradients: list[Tensor] = []
    with torch.no_grad():
        previous = previous_of(clip, run(small, clip)[0])
    for given in (None, previous):
        model = copy.deepcopy(small)
        output, _ = run(model, clip, previous=given)
        torch.stack([(value**2).sum() for value in output]).sum().backward()
        gradient = model.motion_encoder.regressor.rnn.all_weights[0][1].grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
        gradients.append(gradient)
    assert not torch.allclose(gradients[0], gradients[1])  # only the first reaches back through what was fed


def test_residual_only_where_no_feature_is_zero(small: WHAM, clip: dict[str, Tensor]) -> None:
    holed = dict(clip, features=clip["features"].clone())
    holed["features"][1, 7, 3] = 0
    whole, cut = run(small, clip)[0], run(small, holed)[0]
    torch.testing.assert_close(cut.pose[0], whole.pose[0])
    assert (cut.pose[1, 0] - whole.pose[1, 0]).abs().max() > 1e-3


def test_sizes_come_from_the_tensors(small: WHAM, clip: dict[str, Tensor]) -> None:
    tensors = {**small.state_dict(), "smpl.v_template": torch.zeros(3)}
    loaded = WHAM.from_state_dict(tensors).eval()
    assert_same(run(loaded, clip)[0], run(small, clip)[0])


Damage = Callable[[dict[str, Tensor]], object]


def without(name: str) -> Damage:
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without("integrator.layer1.weight"), "integrator.layer1.weight is missing"),
        (without("mask_embedding"), "mask_embedding is missing"),
        (without("trajectory_refiner.refiner.rnn.weight_hh_l2"), "is unknown"),
        (lambda tensors: tensors.update(smplx=torch.zeros(2)), "smplx is unknown"),
        (
            lambda tensors: tensors.update({"motion_decoder.regressor.declayer3.bias": torch.zeros(5)}),
            r"declayer3.bias has the shape \(5,\), not \(4,\)",
        ),
        (lambda tensors: tensors.update({"integrator.layer1.weight": torch.zeros(40, 99)}), "too narrow"),
        (lambda tensors: tensors.clear(), "not weights of the WHAM network"),
    ],
)
def test_other_weights_are_refused_in_a_sentence(small: WHAM, damage: Damage, says: str) -> None:
    tensors = dict(small.state_dict())
    damage(tensors)
    with pytest.raises(WeightsError, match=says):
        WHAM.from_state_dict(tensors)


def random_track(count: int, d_feat: int) -> tuple[np.ndarray, np.ndarray, list[View]]:
    rng = np.random.default_rng(3)
    keypoints = rng.uniform(0.1, 1, (count, 17, 3)) * [640, 480, 1]
    boxes = rng.uniform(1, 2, (count, 3)) * [200, 150, 1]
    features = rng.standard_normal((2, count, d_feat)).astype(np.float32)
    features[0, -10] = 0  # whether the integrator adds the context is the clip's business, not a chunk's
    return keypoints, boxes, [View(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10), each) for each in features]


@pytest.mark.parametrize("views", [1, 2])
def test_lift_in_chunks_is_the_whole(small: WHAM, open_body: Body, views: int) -> None:
    keypoints, boxes, both = random_track(50, SMALL["d_feat"])
    turned = np.linalg.qr(np.random.default_rng(4).standard_normal((50, 3, 3)))[0]
    track = WhamInput(keypoints, boxes, (640, 480), both[:views], camera_angular_velocity(turned))
    done: list[int] = []
    whole, chunked = (
        run_wham(small, open_body, track, done.append, chunk)
        for chunk in (50, 7)
    )  # fmt: skip
    assert done == [50, *range(7, 50, 7), 50]
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(chunked, name), value, rtol=0, atol=1e-4, err_msg=name)
