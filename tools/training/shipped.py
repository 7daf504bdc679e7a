"""Writes trained weight files to ``bundled_weights/``, with their manifest entries and calibrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wham_blender import weights
from wham_blender.files import replace_text, replaced, sha256_of
from wham_blender.pipeline.world.calibration import UNCALIBRATED

_CALIBRATIONS = (
    "# How far the output of a set of WHAM weights can be trusted, one entry for each set:\n"
    "# wham_blender/pipeline/world/calibration.py says what they mean, `build.py train contacts` writes them.\n"
)
_HEADER = "# Every weight file: its role, licence, where it is from and how it is checked.\n"
_PUBLISHED = "\n# Files of Full quality."  # the manifest's part on published files begins here and is left unchanged


def write_arrays(
    role: str,
    name: str,
    arrays: dict[str, np.ndarray],
    *,
    licence: str,
    source: str,
    figures: dict[str, Any],
) -> Path:
    """Save arrays as a compressed ``.npz`` under ``bundled_weights/`` and list it under ``role``."""
    path = weights.folder() / name
    with replaced(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    digest = sha256_of(path)
    entries = weights.manifest()
    entries[role] = weights.WeightFile(role, path, digest, licence, source, "1", figures)
    listed = weights.folder() / "manifest.toml"
    _, mark, published = listed.read_text("utf-8").partition(_PUBLISHED)
    text = _HEADER + "".join(_entry(entry) for entry in entries.values()) + mark + published
    listed.write_text(text, "utf-8")
    print(f"wrote {path.name}: {path.stat().st_size / 1e6:.1f} MB, {figures}")
    return path


def write_trained(role: str, arrays: dict[str, np.ndarray], source: str, figures: dict[str, Any]) -> Path:
    """Write a network of this project as ``open_ROLE.npz`` under the project's licence."""
    return write_arrays(role, f"open_{role}.npz", arrays, licence="GPL-3.0-or-later", source=source, figures=figures)


def write_calibration(path: Path, wham: Path, contact_weights: list[float], source: str) -> None:
    """Write the calibration of a file of WHAM weights to ``calibrations.toml``, replacing an existing one."""
    sha256 = sha256_of(wham)
    others = [entry for entry in weights.calibrations(path.parent) if entry["wham"] != sha256]
    measured = {
        "wham": sha256, "contact_weights": contact_weights, "velocity": UNCALIBRATED.velocity,
        "first_frame_weight": UNCALIBRATED.first_frame_weight, "weight_frames": UNCALIBRATED.weight_frames,
        "source": source,
    }  # fmt: skip
    entries = [
        "\n[[calibration]]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in entry.items())
        for entry in (*others, measured)
    ]
    replace_text(path, _CALIBRATIONS + "".join(entries))
    print(f"wrote {path.name}: contact_weights {contact_weights} for {wham.name}")


def _entry(entry: weights.WeightFile) -> str:
    lines = [f'{key} = "{value}"' for key, value in (
        ("role", entry.role), ("name", entry.path.name), ("version", entry.version), ("licence", entry.licence),
        ("source", entry.source), ("sha256", entry.sha256),
    )]  # fmt: skip
    figures = [f'"{name}" = {_value(value)}' for name, value in entry.figures.items()]
    return (
        "\n[[file]]\n" + "\n".join(lines) + "\n" + ("[file.figures]\n" + "\n".join(figures) + "\n" if figures else "")
    )


def _value(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(round(value, 4) if isinstance(value, float) else value)
