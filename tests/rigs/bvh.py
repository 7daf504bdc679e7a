"""Writes motion files (.bvh) whose rest pose is none: all bones lie along the x-axis, and only frames show a body."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tests.rigs import skeletons

_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # from z up and facing -y to y up and facing z
_MAIN = ("spine", "neck")  # children that a bone with several points to


def write(path: Path, kind: str, frames: int = 3) -> None:
    """Write a skeleton of ``tests.rigs.skeletons`` in centimetres; all frames have its rest pose there."""
    rows = skeletons.read(kind)
    names = [row.name for row in rows]
    parents = [names.index(row.parent) if row.parent else -1 for row in rows]
    heads = 100 * np.array([row.head for row in rows], float) @ _Y_UP.T
    tails = 100 * np.array([row.tail for row in rows], float) @ _Y_UP.T
    children = [[child for child, parent in enumerate(parents) if parent == bone] for bone in range(len(rows))]
    axes = [
        _axes(heads[_main(names, children[bone])] - heads[bone] if children[bone] else tails[bone] - heads[bone])
        for bone in range(len(rows))
    ]
    lines: list[str] = ["HIERARCHY"]
    values: list[float] = []

    def joint(bone: int, depth: int) -> None:
        above = parents[bone]
        offset = axes[above].T @ (heads[bone] - heads[above]) if above >= 0 else np.zeros(3)
        turn = axes[above].T @ axes[bone] if above >= 0 else axes[bone]
        values.extend([] if above >= 0 else heads[bone].tolist())
        values.extend(_zyx(turn))
        pad = "\t" * depth
        channels = "3 Zrotation Yrotation Xrotation"
        lines.append(f"{pad}{'JOINT' if above >= 0 else 'ROOT'} {names[bone]}\n{pad}{{")
        lines.append(f"{pad}\tOFFSET {' '.join(f'{value:.5f}' for value in offset)}")
        position = "Xposition Yposition Zposition "
        lines.append(f"{pad}\tCHANNELS {channels if above >= 0 else channels.replace('3 ', '6 ' + position)}")
        for child in children[bone]:
            joint(child, depth + 1)
        if not children[bone]:
            end = axes[bone].T @ (tails[bone] - heads[bone])
            site = f"OFFSET {' '.join(f'{value:.5f}' for value in end)}"
            lines.append(f"{pad}\tEnd Site\n{pad}\t{{\n{pad}\t\t{site}\n{pad}\t}}")
        lines.append(f"{pad}}}")

    joint(parents.index(-1), 0)
    row_text = " ".join(f"{value:.5f}" for value in values)
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.033333", *[row_text] * frames]
    path.write_text("\n".join(lines) + "\n", "ascii")


def _main(names: list[str], children: list[int]) -> int:
    return next((child for child in children if names[child].lower().startswith(_MAIN)), children[0])


def _axes(along: np.ndarray) -> np.ndarray:
    """Axes (3, 3) in columns, of which x goes along a bone."""
    if np.linalg.norm(along) < 1e-6:  # a joint at the place of its child, as CMU's hip joints are
        return np.eye(3)
    x = along / np.linalg.norm(along)
    z = np.cross(x, [0.0, 0.0, 1.0] if abs(x[2]) < 0.8 else [0.0, 1.0, 0.0])
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], 1)


def _zyx(turn: np.ndarray) -> list[float]:
    """The angles in degrees about z, y and x of a rotation matrix Rz Ry Rx."""
    return [
        math.degrees(math.atan2(turn[1, 0], turn[0, 0])),
        math.degrees(math.asin(max(-1.0, min(1.0, -turn[2, 0])))),
        math.degrees(math.atan2(turn[2, 1], turn[2, 2])),
    ]
