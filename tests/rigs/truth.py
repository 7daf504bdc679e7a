"""Which bones of known character files are which joints (``truth.json``), as a person sees them. Standard library only.

A star stands for a side's word; a list of a joint's bones, or of chains, has what is right all the same.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from wham_blender.addon.retarget.maps import RigMap


@cache
def known() -> dict[str, dict[str, Any]]:
    """The entries by the names of the files, without their endings."""
    table: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
    return table


def joints(stem: str) -> dict[str, str]:
    """The bones of a character's joints, the first where several are right; "chest" is the last of the spine."""
    truth = known()[stem]
    spine = truth["spine"][0] if isinstance(truth["spine"][0], list) else truth["spine"]
    found = {"chest": spine[-1]}
    for part, bone in truth.items():
        if part in ("pelvis", "head"):
            found[part] = _listed(bone)[0]
        elif part not in ("sides", "spine", "neck"):
            sides = zip(("left", "right"), truth["sides"], strict=True)
            found |= {f"{side}_{part}": bone.replace("*", word) for side, word in sides}
    return found


def faults(stem: str, rig_map: RigMap | None, code: str) -> list[str] | None:
    """What is wrong with a map, or with the code of the error instead of one; None if nothing is known of the file."""
    truth = known().get(stem)
    if truth is None:
        return None
    if "refused" in truth:
        return [] if code == truth["refused"] else [f"not refused as {truth['refused']}"]
    if rig_map is None:
        return ["refused"]
    sides = dict(zip(("left", "right"), truth["sides"], strict=True))
    expected: dict[str, Any] = {}
    for part, bone in truth.items():
        if part in ("pelvis", "head"):
            expected[part] = bone
        elif part not in ("sides", "spine", "neck"):
            expected |= {f"{side}_{part}": bone.replace("*", word) for side, word in sides.items()}
    wrong = [
        f"{joint} is {rig_map.bones.get(joint, 'empty')}"
        for joint in dict.fromkeys([*expected, *rig_map.bones])
        if rig_map.bones.get(joint) not in _listed(expected.get(joint))
    ]
    for chain in ("spine", "neck"):
        chains = truth[chain] if truth[chain] and isinstance(truth[chain][0], list) else [truth[chain]]
        if list(getattr(rig_map, chain)) not in chains:
            wrong.append(f"{chain} is {', '.join(getattr(rig_map, chain)) or 'empty'}")
    return wrong


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
