"""A body in the SMPL file format, posed through smplx; only requested vertices and landmarks are computed.

Loper et al., *SMPL: A Skinned Multi-Person Linear Model*, SIGGRAPH Asia 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from smplx import SMPLLayer
from smplx.lbs import batch_rigid_transform, blend_shapes
from smplx.utils import Struct
from torch import Tensor, nn

from ..skeleton import COCO_NAMES, HAND_PARENTS, JOINT_NAMES
from ..smpl_file import HAND_KEYS, HAND_REGRESSORS, HAND_WEIGHTS, KEYS, REGRESSORS, read
from ..weights import WeightsError

_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_HANDS = [JOINT_NAMES.index("left_hand"), JOINT_NAMES.index("right_hand")]
_MAX_SHAPE = 5.0  # standard deviations, norm of the betas: beyond, bodies look deformed; set by hand


class _Smpl(SMPLLayer):
    SHAPE_SPACE_DIM = 10  # as many as WHAM predicts; smplx prints a warning if a file has fewer than this


class Landmarks(NamedTuple):
    """Points of N posed bodies in metres, relative to the midpoint of the hips."""

    joints: Tensor  # (N, 31, 3): COCO's 17 first
    feet: Tensor  # (N, 4, 3): left toe, left heel, right toe, right heel
    offset: Tensor  # (N, 3): the midpoint of the hips in SMPL's output without a translation


class PointRegressor(NamedTuple):
    """What poses COCO's 17 points and the four foot points without PyTorch, near n poses; float64, metres.

    A point is a sum over the joints: of a joint's transform from the rest pose, applied to the homogeneous vector of
    (``templates`` + ``directions`` @ betas) and the weight.
    """

    rest: np.ndarray  # (24, 3) joints of the mean body
    rest_directions: np.ndarray  # (24, 3, 10)
    templates: np.ndarray  # (n, 21, 24, 3); (1, 21, 24, 3) if the body has no pose corrections
    directions: np.ndarray  # (21, 24, 3, 10)
    weights: np.ndarray  # (21, 24)


class Body(nn.Module):
    """SMPL or a body of its format. Takes (N, 24, 3, 3) rotation matrices and (N, 10) betas.

    Where ``has_hands``, it has SMPL-H's 30 finger joints, too, in the order of HAND_JOINT_NAMES.
    """

    _landmark_basis: Tensor  # (218, 35 * 24 * 3)
    _landmark_weights: Tensor  # (35, 24)
    _rest_template: Tensor  # (24, 3)
    _rest_directions: Tensor  # (24, 3, 10)
    _hand_template: Tensor  # (40, 3): 30 finger joints, 10 fingertips
    _hand_directions: Tensor  # (40, 3, 10)
    _weights_with_hands: Tensor  # (V, 54)

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """``arrays``: SMPL's own keys, and J_regressor_wham (31, V) and J_regressor_feet (4, V)."""
        missing = [key for key in (*KEYS, *REGRESSORS) if key not in arrays]
        if missing:
            raise WeightsError(
                f"This body model lacks {', '.join(missing)}. Choose a body file in SMPL's format with WHAM's "
                "regressors, or leave the choice to the add-on.",
                code="body-not-smpl",
            )
        super().__init__()
        data = {key: np.asarray(arrays[key]) for key in KEYS}
        self.smpl = _Smpl("", data_struct=Struct(**data | {"shapedirs": data["shapedirs"][..., :10]}))
        rows = torch.tensor(np.vstack([arrays[key] for key in REGRESSORS]), dtype=torch.float32)
        self.register_buffer("_landmark_basis", self._regressor_basis(rows), persistent=False)
        self.register_buffer("_landmark_weights", rows @ self.smpl.lbs_weights, persistent=False)
        rest = torch.einsum("jv,vkb->jkb", self.smpl.J_regressor, self.smpl.shapedirs)
        self.register_buffer("_rest_directions", rest, persistent=False)
        self.register_buffer("_rest_template", self.smpl.J_regressor @ self.smpl.v_template, persistent=False)
        self.has_hands = all(key in arrays for key in HAND_KEYS)
        if self.has_hands:
            self._add_hands(arrays)

    def _add_hands(self, arrays: Mapping[str, np.ndarray]) -> None:
        regressor = torch.tensor(np.vstack([arrays[key] for key in HAND_REGRESSORS]), dtype=torch.float32)
        weights = self.smpl.lbs_weights.clone()
        weights[:, _HANDS] = 0  # the fingers take over what moves with SMPL's hand joints
        weights = torch.cat([weights, torch.tensor(arrays[HAND_WEIGHTS], dtype=torch.float32)], 1)
        directions = torch.einsum("jv,vkb->jkb", regressor, self.smpl.shapedirs)
        self.register_buffer("_hand_template", regressor @ self.smpl.v_template, persistent=False)
        self.register_buffer("_hand_directions", directions, persistent=False)
        self.register_buffer("_weights_with_hands", weights, persistent=False)

    @classmethod
    def load(cls, path: str | Path) -> Body:
        """The body of a file in SMPL's format with WHAM's regressors. Raises WeightsError if the file is not one."""
        return cls(read(path))

    @property
    def faces(self) -> np.ndarray:
        """(T, 3) vertex indices."""
        return np.asarray(self.smpl.faces)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """(..., 10) to (..., 24, 3) metres, y up, x to the body's left."""
        return self._rest_template + torch.einsum("...b,jkb->...jk", betas, self._rest_directions)

    def rest_hands(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Finger joints (..., 30, 3) and fingertips (..., 10, 3) of shapes (..., 10), in the axes of ``rest_joints``.

        Raises ValueError if the body has no fingers.
        """
        if not self.has_hands:
            raise ValueError("this body file has no finger joints")
        points = self._hand_template + torch.einsum("...b,jkb->...jk", betas, self._hand_directions)
        return points[..., :30, :], points[..., 30:, :]

    def hand_points(self, poses: Tensor, hand_poses: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Posed finger joints (N, 30, 3) and fingertips (N, 10, 3), metres, without a translation.

        hand_poses: (N, 30, 3, 3) rotation matrices relative to the parents.
        """
        _, tips = self.rest_hands(betas)
        joints, transforms = self._posed(poses, betas, hand_poses)
        last = transforms[:, len(JOINT_NAMES) + 2 :: 3]  # of the finger joints that carry the tips
        return joints[:, len(JOINT_NAMES) :], (last[..., :3, :3] @ tips[..., None])[..., 0] + last[..., :3, 3]

    def _posed(self, poses: Tensor, betas: Tensor, hand_poses: Tensor | None) -> tuple[Tensor, Tensor]:
        """Joints (N, J, 3), 24 or with fingers 54, and their transforms from rest (N, J, 4, 4)."""
        rest, parents = self.rest_joints(betas), self.smpl.parents
        if hand_poses is not None:
            rest = torch.cat([rest, self.rest_hands(betas)[0]], 1)
            poses = torch.cat([poses, hand_poses], 1)
            parents = torch.cat([parents, parents.new_tensor(HAND_PARENTS)])
        joints, transforms = batch_rigid_transform(poses, rest, parents)
        return joints, transforms

    def height(self, betas: np.ndarray) -> float:
        """Height in metres, soles to crown, of the shape (10,) in the rest pose."""
        return float(self.height_and_slope(betas)[0])

    def of_height(self, betas: np.ndarray, metres: float) -> np.ndarray:
        """The shape (10,) nearest to ``betas`` with that height, or with the nearest height that _MAX_SHAPE allows."""
        shape = np.asarray(betas, np.float64)
        for _ in range(8):  # the lowest and highest vertex hardly change with the shape
            height, slope = self.height_and_slope(shape)
            shape = shape + slope * (metres - height) / (slope @ slope)
            shape *= min(1.0, _MAX_SHAPE / np.linalg.norm(shape))
        return shape.astype(np.float32)

    def shape_like(self, other: Body, betas: np.ndarray) -> np.ndarray:
        """The shape (10,) whose vertices are nearest to those of another body with shape ``betas``, by least squares.

        Raises ValueError if the bodies have different numbers of vertices.
        """
        ours, theirs = self.smpl, other.smpl
        if ours.v_template.shape != theirs.v_template.shape:
            raise ValueError("the bodies have not the same vertices")
        target = theirs.v_template.cpu().numpy() + theirs.shapedirs.cpu().numpy() @ betas
        off = target - ours.v_template.cpu().numpy()
        directions = ours.shapedirs.cpu().numpy().astype(np.float64)
        off, directions = off - off.mean(0), directions - directions.mean(0)
        return np.linalg.lstsq(directions.reshape(-1, 10), off.ravel(), rcond=None)[0].astype(np.float32)

    def height_and_slope(self, betas: np.ndarray) -> tuple[float, np.ndarray]:
        """Height in the rest pose, metres, and its derivative (10,) by the betas."""
        directions = self.smpl.shapedirs[:, 1].cpu().numpy().astype(np.float64)
        up = self.smpl.v_template[:, 1].cpu().numpy() + directions @ betas
        low, high = up.argmin(), up.argmax()
        return up[high] - up[low], directions[high] - directions[low]

    def vertices(
        self,
        poses: Tensor,
        betas: Tensor,
        indices: Tensor | slice = slice(None),
        hand_poses: Tensor | None = None,
    ) -> Tensor:
        """Positions (N, len(indices), 3) of those vertices, metres, without a translation.

        hand_poses: (N, 30, 3, 3) rotation matrices of the finger joints relative to their parents. Raises ValueError
        if the body has no fingers.
        """
        smpl = self.smpl
        _, transforms = self._posed(poses, betas, hand_poses)
        weights = smpl.lbs_weights if hand_poses is None else self._weights_with_hands
        shaped = smpl.v_template[indices] + blend_shapes(betas, smpl.shapedirs[indices])
        directions = smpl.posedirs.unflatten(1, (-1, 3))[:, indices].flatten(1)
        posed = shaped + (_pose_feature(poses) @ directions).view_as(shaped)
        skin = torch.einsum("vj,njkl->nvkl", weights[indices], transforms[:, :, :3])
        return (skin[..., :3] @ posed[..., None])[..., 0] + skin[..., 3]

    def landmarks(self, poses: Tensor, betas: Tensor) -> Landmarks:
        """Joints and feet by the regressors, without computing vertices; see ``_regressor_basis``."""
        _, transforms = batch_rigid_transform(poses, self.rest_joints(betas), self.smpl.parents)
        one = torch.ones_like(betas[:, :1])
        bones = (torch.cat([one, betas, _pose_feature(poses)], 1) @ self._landmark_basis).view(len(poses), -1, 24, 3)
        points = torch.einsum("njkl,nrjl->nrk", transforms[:, :, :3, :3], bones)
        points = points + torch.einsum("njk,rj->nrk", transforms[:, :, :3, 3], self._landmark_weights)
        offset = points[:, _HIPS].mean(1)
        joints, feet = (points - offset[:, None]).split([points.shape[1] - 4, 4], 1)
        return Landmarks(joints, feet, offset)

    def point_regressor(self, poses: np.ndarray) -> PointRegressor:
        """The regressor with the pose corrections of poses (n, 24, 3, 3)."""

        def array(values: Tensor) -> np.ndarray:
            return values.cpu().numpy().astype(np.float64)

        rows = [*range(len(COCO_NAMES)), *range(len(self._landmark_weights) - 4, len(self._landmark_weights))]
        basis = array(self._landmark_basis).reshape(len(self._landmark_basis), -1, 24, 3)[:, rows]
        templates, shapes, corrections = np.split(basis, [1, 1 + self._rest_directions.shape[-1]])
        if corrections.any():
            feature = (poses[:, 1:] - np.eye(3)).reshape(len(poses), -1)
            templates = templates + np.tensordot(feature, corrections, 1)
        return PointRegressor(
            array(self._rest_template), array(self._rest_directions), templates, np.moveaxis(shapes, 0, -1),
            array(self._landmark_weights)[rows],
        )  # fmt: skip

    def _regressor_basis(self, rows: Tensor) -> Tensor:
        """Regressors (R, V) applied to template, shapes and pose corrections, for each bone: (218, R * 24 * 3).

        Blend skinning is linear in the vertices: a regressed point is the sum over bones of the bone's transform
        times the sum over vertices of row weight x skinning weight x unposed vertex, and the inner sum is linear in
        (1, betas, pose corrections). So the cost of posing does not depend on the number of vertices in a row.
        """
        smpl = self.smpl
        corrections = smpl.posedirs.T.view(len(smpl.v_template), 3, -1)
        basis = torch.cat([smpl.v_template[..., None], smpl.shapedirs, corrections], 2).flatten(1)
        bases = []
        for row in rows:
            used = row.nonzero()[:, 0]
            bases.append((row[used, None] * smpl.lbs_weights[used]).T @ basis[used])
        return torch.stack(bases).view(len(rows) * 24 * 3, -1).T.contiguous()


def _pose_feature(poses: Tensor) -> Tensor:
    """SMPL's pose feature, on which pose corrections are linear: (N, 207), the rotations less the identity."""
    return (poses[:, 1:] - torch.eye(3, device=poses.device)).flatten(1)
