"""Rig maps: which bone of a rig corresponds to which SMPL joint, and which control an animator keys for it.

A map is a TOML file. Bundled maps are in ``maps/``, the user's maps in the user's data folder. Standard library only.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from ...errors import CodedError
from ...files import replace_text

_SIDED = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
# SMPL joints that are mapped to one bone each; "foot" is the ball of the foot, where the toes begin. SMPL's hands are
# left out: WHAM does not estimate fingers. Spine and neck may have any number of bones and are kept as chains.
JOINTS = ("pelvis", "head", *(f"{side}_{part}" for side in ("left", "right") for part in _SIDED))
OPTIONAL_JOINTS = ("head", *(f"{side}_{part}" for side in ("left", "right") for part in ("foot", "collar", "wrist")))
REQUIRED_JOINTS = tuple(joint for joint in JOINTS if joint not in OPTIONAL_JOINTS)
LIMBS = {
    f"{side}_{limb}": tuple(f"{side}_{part}" for part in parts)
    for side in ("left", "right")
    for limb, parts in (("leg", ("hip", "knee", "ankle")), ("arm", ("shoulder", "elbow", "wrist")))
}
IK_STRETCH = "ik_stretch"  # of a pose bone, built in: above zero, Blender's IK shortens bent legs
_MAX_FILE_SIZE = 1 << 20  # bytes; a map has a few thousand


class MapError(CodedError):
    """A map cannot be read, or does not fit a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class Setting:
    """A property of a pose bone and the value that the map's controls need."""

    bone: str
    property: str  # a custom property, or IK_STRETCH
    value: float


@dataclass(frozen=True)
class Switch:
    """A custom property of a pose bone that blends a limb between IK and FK."""

    bone: str
    property: str
    ik: float  # its value for IK
    fk: float


@dataclass(frozen=True)
class LimbIK:
    """The IK controls of a limb, whose three joints are ``LIMBS[limb]``."""

    target: str = ""  # control keyed in location and rotation; moves with the bone of the limb's last joint
    pole: str = ""  # control keyed in location; the knee or elbow points to it
    toe: str = ""  # control keyed in rotation; moves with the bone of "left_foot" or "right_foot"
    switch: Switch | None = None


@dataclass(frozen=True)
class RigMap:
    """A rig's bones by SMPL joint. All names are bone names.

    The head of a mapped bone is the joint: a limb's direction goes from its bone's head to the head of the next joint's
    bone (the tail may point anywhere). A joint that is not in ``bones`` has no bone; its rotation is applied to the
    bone above. A map read from a file has the file's names; ``fit`` returns a map with the names of an armature.
    """

    name: str
    bones: Mapping[str, str]  # joint, one of JOINTS -> bone; includes all REQUIRED_JOINTS
    spine: tuple[str, ...] = ()  # bones above the pelvis, up to the parent of neck and collars; may be empty
    neck: tuple[str, ...] = ()  # bones between spine and head; may be empty
    # The orientation of each spine bone: 0 is the pelvis's, 1 spine1's, 2 spine2's, 3 spine3's, and 1.5 is halfway
    # between spine1's and spine2's (slerp of orientations in world space). Ascending, the last is 3.
    spine_at: tuple[float, ...] = ()
    # The same for the neck's bones: 0 is spine3's orientation and 1 SMPL's neck's. Ascending, the last is 1.
    neck_at: tuple[float, ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)  # bone -> control to key; other bones are keyed
    location_bone: str = ""  # bone whose control is keyed in location, too, and moves the body; "" is the pelvis
    root: str = ""  # bone on the floor for root motion, an ancestor of all others; "" if there is none
    twists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # joint -> twist bones along its limb
    ik: Mapping[str, LimbIK] = field(default_factory=dict)  # one of LIMBS -> its IK controls and switch
    settings: tuple[Setting, ...] = ()
    optional: tuple[str, ...] = ()  # bones that a rig may lack, besides twist bones; empty in fitted maps

    def __post_init__(self) -> None:
        for chain, at, top in (("spine", "spine_at", 3.0), ("neck", "neck_at", 1.0)):
            count = len(getattr(self, chain))
            if not getattr(self, at):
                object.__setattr__(self, at, tuple(top * (number + 1) / count for number in range(count)))
        object.__setattr__(self, "location_bone", self.location_bone or self.bones.get("pelvis", ""))

    def control(self, bone: str) -> str:
        """The control to key for a bone; the bone itself if it has none."""
        return self.controls.get(bone, bone)

    def mapped_bones(self) -> dict[str, str]:
        """All bones of joints, spine and neck, by a name to show: "left_hip", "spine 2 of 4"."""
        chains = {
            f"{chain} {number} of {len(bones)}": bone
            for chain, bones in (("spine", self.spine), ("neck", self.neck))
            for number, bone in enumerate(bones, 1)
        }
        return {**self.bones, **chains}


# --- fitting ---------------------------------------------------------------------------------------------------------


def fit(rig_map: RigMap, names: Iterable[str]) -> RigMap:
    """The map with an armature's bone names, without the optional bones and twist bones that the armature lacks.

    Names are compared without case and punctuation ("upper_arm.L" and "Upper_Arm_L") and with any common prefix of the
    armature's names ("mixamorig:Hips"). Raises MapError with the missing bones.
    """
    exact = list(names)
    known: dict[str, str] = {}
    for name in exact:
        known.setdefault(_normalized(name), name)
    optional = {*rig_map.optional, *(bone for bones in rig_map.twists.values() for bone in bones)}
    required = [name for name in all_names(rig_map) if name not in optional]
    pelvis = _normalized(rig_map.bones["pelvis"])
    prefixes = sorted({"", *(name.removesuffix(pelvis) for name in known if name.endswith(pelvis))}, key=len)
    missing_by_prefix = {
        prefix: [name for name in required if prefix + _normalized(name) not in known] for prefix in prefixes
    }
    prefix = min(prefixes, key=lambda candidate: len(missing_by_prefix[candidate]))
    if missing := missing_by_prefix[prefix]:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise MapError(
            f"The rig lacks {len(missing)} of the {len(required)} bones in the map {rig_map.name}: {shown}. "
            "Choose another map, or guess a map and correct it.",
            code="rig-map-bones-missing",
        )

    def armature_name(name: str) -> str:
        return name if not name or name in exact else known[prefix + _normalized(name)]

    missing_optional = {name for name in optional if prefix + _normalized(name) not in known}
    return _rename(without(rig_map, missing_optional), armature_name)


def without(rig_map: RigMap, missing: Collection[str]) -> RigMap:
    """The map without missing bones, and with no optional bones left; shortened chains get even ``spine_at`` values."""
    spine, neck = (tuple(bone for bone in chain if bone not in missing) for chain in (rig_map.spine, rig_map.neck))
    twists = {joint: tuple(bone for bone in bones if bone not in missing) for joint, bones in rig_map.twists.items()}
    return replace(
        rig_map,
        bones={joint: bone for joint, bone in rig_map.bones.items() if bone not in missing},
        spine=spine,
        neck=neck,
        spine_at=rig_map.spine_at if spine == rig_map.spine else (),
        neck_at=rig_map.neck_at if neck == rig_map.neck else (),
        controls={bone: name for bone, name in rig_map.controls.items() if not {bone, name} & set(missing)},
        root="" if rig_map.root in missing else rig_map.root,
        twists={joint: bones for joint, bones in twists.items() if bones},
        settings=tuple(setting for setting in rig_map.settings if setting.bone not in missing),
        optional=(),
    )


def mirrored(rig_map: RigMap) -> RigMap:
    """The map with left and right exchanged, for rigs whose object has a negative scale."""

    def other(joint: str) -> str:
        side, _, part = joint.partition("_")
        return f"{'right' if side == 'left' else 'left'}_{part}" if side in ("left", "right") else joint

    return replace(
        rig_map,
        bones={other(joint): bone for joint, bone in rig_map.bones.items()},
        twists={other(joint): bones for joint, bones in rig_map.twists.items()},
        ik={other(limb): ik for limb, ik in rig_map.ik.items()},
    )


def matching(names: Iterable[str], candidates: Iterable[RigMap]) -> RigMap | None:
    """The candidate that fits an armature and uses the most of its bones, fitted; None if none fits."""
    names = list(names)
    fitted = []
    for candidate in candidates:
        try:
            fitted.append(fit(candidate, names))
        except MapError:
            continue
    return max(fitted, key=lambda candidate: len(all_names(candidate)), default=None)


def _normalized(name: str) -> str:
    """A name without case and punctuation; exporters turn dots and colons into underscores."""
    return re.sub(r"[\W_]+", "_", name.casefold())


def _rename(rig_map: RigMap, change: Callable[[str], str]) -> RigMap:
    """The map with all its bone names changed."""

    def all_of(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(change, names))

    def switch(old: Switch | None) -> Switch | None:
        return old and replace(old, bone=change(old.bone))

    return replace(
        rig_map,
        bones={joint: change(bone) for joint, bone in rig_map.bones.items()},
        spine=all_of(rig_map.spine),
        neck=all_of(rig_map.neck),
        controls={change(bone): change(control) for bone, control in rig_map.controls.items()},
        location_bone=change(rig_map.location_bone),
        root=change(rig_map.root),
        twists={joint: all_of(bones) for joint, bones in rig_map.twists.items()},
        ik={
            limb: LimbIK(change(ik.target), change(ik.pole), change(ik.toe), switch(ik.switch))
            for limb, ik in rig_map.ik.items()
        },
        settings=tuple(replace(setting, bone=change(setting.bone)) for setting in rig_map.settings),
        optional=all_of(rig_map.optional),
    )


def all_names(rig_map: RigMap) -> list[str]:
    """The names of all bones and controls in a map, without duplicates."""
    names: dict[str, None] = {}

    def collect(name: str) -> str:
        names[name] = None
        return name

    _rename(rig_map, collect)
    names.pop("", None)
    return list(names)


# --- files -----------------------------------------------------------------------------------------------------------


def read(path: Path) -> RigMap:
    """Read a map's file. Raises MapError with the first error in it."""
    try:
        if path.stat().st_size > _MAX_FILE_SIZE:
            raise MapError(
                f"{path.name} is too large for a rig map. Choose a map's .toml file.", code="rig-map-too-large"
            )
        return from_toml(path.read_text("utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"{path.name} cannot be read as a rig map: {error}.", code="rig-map-unreadable") from error


def write(rig_map: RigMap, path: Path) -> None:
    """Write a map's file. Raises MapError if it cannot be written; an existing file is then left as it was."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, to_toml(rig_map))
    except OSError as error:
        raise MapError(
            f"The rig map cannot be written to {path}: {error.strerror or error}.", code="rig-map-not-writable"
        ) from error


def shipped() -> dict[str, RigMap]:
    """The bundled maps, by their file names without the suffix."""
    folder = Path(__file__).resolve().parent / "maps"
    return {path.stem: read(path) for path in sorted(folder.glob("*.toml"))}


def from_toml(text: str, source: str) -> RigMap:
    """A map from its TOML text; ``source`` is the file name for error messages. Raises MapError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(
            f"{source} is not a rig map: {error}. It must be a TOML file as Save Map writes it.",
            code="rig-map-invalid",
        ) from error
    return _Reader(source).rig_map(table)


def to_toml(rig_map: RigMap) -> str:
    """A map as TOML text, the inverse of ``from_toml``."""
    # A JSON string is a TOML string, except that TOML also wants the delete character escaped.
    quote = lambda text: json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # noqa: E731
    array = lambda values: f"[{', '.join(quote(v) if isinstance(v, str) else repr(float(v)) for v in values)}]"  # noqa: E731
    lines = [f"name = {quote(rig_map.name)}"]
    lines += [f"{key} = {quote(getattr(rig_map, key))}" for key in ("location_bone", "root") if getattr(rig_map, key)]
    for key in ("spine", "spine_at", "neck", "neck_at", "optional"):
        if getattr(rig_map, key):
            lines.append(f"{key} = {array(getattr(rig_map, key))}")
    lines += ["", "[bones]", *(f"{joint} = {quote(bone)}" for joint, bone in rig_map.bones.items())]
    if rig_map.controls:
        lines += ["", "[controls]", *(f"{quote(bone)} = {quote(name)}" for bone, name in rig_map.controls.items())]
    if rig_map.twists:
        lines += ["", "[twists]", *(f"{joint} = {array(bones)}" for joint, bones in rig_map.twists.items())]
    for limb, ik in rig_map.ik.items():
        lines += ["", f"[ik.{limb}]"]
        lines += [f"{key} = {quote(getattr(ik, key))}" for key in ("target", "pole", "toe") if getattr(ik, key)]
        if ik.switch:
            switch = ik.switch
            lines.append(
                f"switch = {{bone = {quote(switch.bone)}, property = {quote(switch.property)}, "
                f"ik = {float(switch.ik)!r}, fk = {float(switch.fk)!r}}}"
            )
    for setting in rig_map.settings:
        lines += ["", "[[settings]]", f"bone = {quote(setting.bone)}", f"property = {quote(setting.property)}"]
        lines.append(f"value = {float(setting.value)!r}")
    return "\n".join(lines) + "\n"


class _Reader:
    """Converts a TOML table to a map and validates all of it: maps are exchanged between users."""

    def __init__(self, source: str) -> None:
        self._source = source

    def rig_map(self, table: dict[str, Any]) -> RigMap:
        # Version 0.1 called the key "mover": maps that users saved with it stay readable.
        table = {("location_bone" if key == "mover" else key): value for key, value in table.items()}
        self._only(table, {item.name for item in fields(RigMap)}, "the map")
        bones = self._names(table.get("bones"), JOINTS, "bones")
        if missing := [joint for joint in REQUIRED_JOINTS if joint not in bones]:
            self._fail(f"[bones] lacks {', '.join(missing)}")
        rig_map = RigMap(
            name=self._text(table.get("name"), "name"),
            bones=bones,
            spine=self._list(table.get("spine", []), str, "spine"),
            neck=self._list(table.get("neck", []), str, "neck"),
            spine_at=self._list(table.get("spine_at", []), float, "spine_at"),
            neck_at=self._list(table.get("neck_at", []), float, "neck_at"),
            controls=self._names(table.get("controls", {}), None, "controls"),
            location_bone=self._text(table.get("location_bone", ""), "location_bone"),
            root=self._text(table.get("root", ""), "root"),
            twists={
                joint: self._list(names, str, f"twists.{joint}")
                for joint, names in self._table(table.get("twists", {}), JOINTS, "twists").items()
            },
            ik={
                limb: self._limb(ik, f"ik.{limb}") for limb, ik in self._table(table.get("ik", {}), LIMBS, "ik").items()
            },
            settings=tuple(self._setting(item) for item in self._list(table.get("settings", []), dict, "settings")),
            optional=self._list(table.get("optional", []), str, "optional"),
        )
        for chain, at, top in ((rig_map.spine, rig_map.spine_at, 3.0), (rig_map.neck, rig_map.neck_at, 1.0)):
            if len(chain) != len(at) or list(at) != sorted(at) or (at and (at[0] < 0 or at[-1] != top)):
                self._fail(f"spine_at and neck_at need one ascending number a bone, the last one {top:g}")
        mapped = list(rig_map.mapped_bones().values())
        if duplicates := [bone for bone in dict.fromkeys(mapped) if mapped.count(bone) > 1]:
            self._fail(f"the bone {duplicates[0]} is named for two joints")
        if required := set(rig_map.optional) & ({*(bones[joint] for joint in REQUIRED_JOINTS), rig_map.location_bone}):
            self._fail(f"{min(required)} cannot be optional")
        if unmapped := [bone for bone in (rig_map.location_bone, *rig_map.controls) if bone not in mapped]:
            self._fail(f"{unmapped[0]} has a control but is mapped to no joint")
        return rig_map

    def _limb(self, value: object, where: str) -> LimbIK:
        table = self._table(value, [item.name for item in fields(LimbIK)], where)
        target, pole, toe = (self._text(table.get(key, ""), f"{where}.{key}") for key in ("target", "pole", "toe"))
        if "switch" not in table:
            return LimbIK(target, pole, toe)
        where += ".switch"
        switch = self._table(table["switch"], [item.name for item in fields(Switch)], where)
        bone, name = (self._text(switch.get(key), f"{where}.{key}") for key in ("bone", "property"))
        ik, fk = (self._number(switch.get(key), f"{where}.{key}") for key in ("ik", "fk"))
        return LimbIK(target, pole, toe, Switch(bone, name, ik, fk))

    def _setting(self, table: dict[str, Any]) -> Setting:
        self._only(table, {item.name for item in fields(Setting)}, "settings")
        return Setting(
            self._text(table.get("bone"), "settings.bone"),
            self._text(table.get("property"), "settings.property"),
            self._number(table.get("value"), "settings.value"),
        )

    def _table(self, value: object, keys: Iterable[str] | None, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._fail(f"{where} must be a table")
        if keys is not None:
            self._only(value, set(keys), where)
        return value

    def _names(self, value: object, keys: Iterable[str] | None, where: str) -> dict[str, str]:
        names = {key: self._text(name, f"{where}.{key}") for key, name in self._table(value, keys, where).items()}
        if empty := [key for key, name in names.items() if not name]:
            self._fail(f"{where}.{empty[0]} must not be empty")
        return names

    def _only(self, table: Mapping[str, object], keys: set[str], where: str) -> None:
        if unknown := sorted(set(table) - keys):
            self._fail(f"{where} has the unknown key {unknown[0]}; known keys are {', '.join(sorted(keys))}")

    def _list(self, value: object, kind: type, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            self._fail(f"{where} must be a list")
        if kind is float:
            return tuple(self._number(item, where) for item in value)
        if not all(isinstance(item, kind) and item for item in value):
            self._fail(f"{where} has an entry that is empty or of the wrong type")
        return tuple(value)

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            self._fail(f"{where} must be a string")
        return value

    def _number(self, value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e6 or value != value:
            self._fail(f"{where} must be a number")
        return float(value)

    def _fail(self, problem: str) -> NoReturn:
        raise MapError(f"{self._source} is not a rig map: {problem}.", code="rig-map-invalid")
