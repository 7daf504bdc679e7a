"""A body in the SMPL file format, posed through smplx; only the vertices that somebody asked for are computed.

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

from ..skeleton import COCO_NAMES
from ..smpl_file import KEYS, REGRESSORS, read
from ..weights import WeightsError

_HIPS = [COCO_NAMES.index("left_hip"), COCO_NAMES.index("right_hip")]
_FARTHEST_SHAPE = 5.0  # standard deviations


class _Smpl(SMPLLayer):
    SHAPE_SPACE_DIM = 10  # all that WHAM knows; smplx prints a warning where a file has fewer than it expects


class Landmarks(NamedTuple):
    """Points of N posed bodies in metres, the middle of the hips at the origin."""

    joints: Tensor  # (N, 31, 3): COCO's 17 first
    feet: Tensor  # (N, 4, 3): left toe, left heel, right toe, right heel
    offset: Tensor  # (N, 3): the middle of the hips where SMPL puts it without a translation


class Body(nn.Module):
    """SMPL or a body of its format. Takes (N, 24, 3, 3) rotation matrices and (N, 10) betas."""

    _landmark_basis: Tensor  # (218, 35 * 24 * 3)
    _landmark_weights: Tensor  # (35, 24)
    _rest_template: Tensor  # (24, 3)
    _rest_directions: Tensor  # (24, 3, 10)

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """``arrays``: SMPL's own keys, and J_regressor_wham (31, V) and J_regressor_feet (4, V)."""
        missing = [key for key in (*KEYS, *REGRESSORS) if key not in arrays]
        if missing:
            raise WeightsError(
                f"This body model lacks {', '.join(missing)}. Choose a body file in SMPL's format with WHAM's "
                "regressors, or leave the choice to the add-on."
            )
        super().__init__()
        data = {key: np.asarray(arrays[key]) for key in KEYS}
        self.smpl = _Smpl("", data_struct=Struct(**data | {"shapedirs": data["shapedirs"][..., :10]}))
        rows = torch.tensor(np.vstack([arrays[key] for key in REGRESSORS]), dtype=torch.float32)
        self.register_buffer("_landmark_basis", self._fold(rows), persistent=False)
        self.register_buffer("_landmark_weights", rows @ self.smpl.lbs_weights, persistent=False)
        rest = torch.einsum("jv,vkb->jkb", self.smpl.J_regressor, self.smpl.shapedirs)
        self.register_buffer("_rest_directions", rest, persistent=False)
        self.register_buffer("_rest_template", self.smpl.J_regressor @ self.smpl.v_template, persistent=False)

    @classmethod
    def load(cls, path: str | Path) -> Body:
        """Read a file in SMPL's format that has WHAM's regressors too; raises WeightsError where it is none."""
        return cls(read(path))

    @property
    def faces(self) -> np.ndarray:
        """(T, 3) vertex indices."""
        return np.asarray(self.smpl.faces)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """(..., 10) to (..., 24, 3) metres, y up, x to the body's left."""
        return self._rest_template + torch.einsum("...b,jkb->...jk", betas, self._rest_directions)

    def height(self, betas: np.ndarray) -> float:
        """Metres from the soles to the crown of a shape (10,) that stands."""
        return float(self._standing(betas)[0])

    def of_height(self, betas: np.ndarray, metres: float) -> np.ndarray:
        """The shape (10,) nearest to ``betas`` that is so tall, as far as shapes go that people have."""
        shape = np.asarray(betas, np.float64)
        for _ in range(8):  # who is lowest and highest changes little with the shape
            height, slope = self._standing(shape)
            shape = shape + slope * (metres - height) / (slope @ slope)
            shape *= min(1.0, _FARTHEST_SHAPE / np.linalg.norm(shape))
        return shape.astype(np.float32)

    def shape_like(self, other: Body, betas: np.ndarray) -> np.ndarray:
        """The shape (10,) with which this body is nearest to another one of shape ``betas``, vertex by vertex.

        Raises ValueError where they have not the same vertices.
        """
        own, wanted = self.smpl, other.smpl
        if own.v_template.shape != wanted.v_template.shape:
            raise ValueError("the bodies have not the same vertices")
        target = wanted.v_template.cpu().numpy() + wanted.shapedirs.cpu().numpy() @ betas
        off = target - own.v_template.cpu().numpy()
        directions = own.shapedirs.cpu().numpy().astype(np.float64)
        off, directions = off - off.mean(0), directions - directions.mean(0)
        return np.linalg.lstsq(directions.reshape(-1, 10), off.ravel(), rcond=None)[0].astype(np.float32)

    def _standing(self, betas: np.ndarray) -> tuple[float, np.ndarray]:
        """Height, metres, and its slope (10,) along the shapes."""
        directions = self.smpl.shapedirs[:, 1].cpu().numpy().astype(np.float64)
        up = self.smpl.v_template[:, 1].cpu().numpy() + directions @ betas
        low, high = up.argmin(), up.argmax()
        return up[high] - up[low], directions[high] - directions[low]

    def vertices(self, poses: Tensor, betas: Tensor, indices: Tensor | slice = slice(None)) -> Tensor:
        """Positions (N, len(indices), 3) of those vertices, metres, without a translation."""
        smpl = self.smpl
        _, transforms = batch_rigid_transform(poses, self.rest_joints(betas), smpl.parents)
        shaped = smpl.v_template[indices] + blend_shapes(betas, smpl.shapedirs[indices])
        directions = smpl.posedirs.unflatten(1, (-1, 3))[:, indices].flatten(1)
        posed = shaped + (_bend(poses) @ directions).view_as(shaped)
        skin = torch.einsum("vj,njkl->nvkl", smpl.lbs_weights[indices], transforms[:, :, :3])
        return (skin[..., :3] @ posed[..., None])[..., 0] + skin[..., 3]

    def landmarks(self, poses: Tensor, betas: Tensor) -> Landmarks:
        """Joints and feet by the regressors; see ``_fold`` for why no vertex is computed."""
        _, transforms = batch_rigid_transform(poses, self.rest_joints(betas), self.smpl.parents)
        one = torch.ones_like(betas[:, :1])
        bones = (torch.cat([one, betas, _bend(poses)], 1) @ self._landmark_basis).view(len(poses), -1, 24, 3)
        points = torch.einsum("njkl,nrjl->nrk", transforms[:, :, :3, :3], bones)
        points = points + torch.einsum("njk,rj->nrk", transforms[:, :, :3, 3], self._landmark_weights)
        offset = points[:, _HIPS].mean(1)
        joints, feet = (points - offset[:, None]).split([points.shape[1] - 4, 4], 1)
        return Landmarks(joints, feet, offset)

    def _fold(self, rows: Tensor) -> Tensor:
        """What regressors (R, V) see of template, shapes and pose corrections through each bone: (218, R * 24 * 3).

        Blend skinning is linear in the vertices: a regressed point is the sum over bones of the bone's transform
        times the sum over vertices of row weight x skinning weight x unposed vertex, and the inner sum is linear in
        (1, betas, pose corrections). So however many vertices the rows touch, posing costs the same.
        """
        smpl = self.smpl
        corrections = smpl.posedirs.T.view(len(smpl.v_template), 3, -1)
        basis = torch.cat([smpl.v_template[..., None], smpl.shapedirs, corrections], 2).flatten(1)
        folded = []
        for row in rows:
            touched = row.nonzero()[:, 0]
            folded.append((row[touched, None] * smpl.lbs_weights[touched]).T @ basis[touched])
        return torch.stack(folded).view(len(rows) * 24 * 3, -1).T.contiguous()


def _bend(poses: Tensor) -> Tensor:
    """What SMPL's pose corrections are linear in: (N, 207), the joints' rotations less the identity."""
    return (poses[:, 1:] - torch.eye(3, device=poses.device)).flatten(1)
