"""Rig maps: which bone of a rig corresponds to which SMPL joint, and which control an animator keys for it.

A map is a TOML file. Bundled maps are in ``maps/``, the user's maps in the user's data folder. Standard library only.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

from ... import limits, records
from ...errors import CodedError
from ...files import read_bounded, replace_text
from ...records import AtMost, Within
from ...skeleton import HAND_JOINT_NAMES
from .bone_names import decoded, without_counters

_SIDED = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
# SMPL joints that are mapped to one bone each; "foot" is the ball of the foot, where the toes begin. SMPL's hands are
# left out: fingers have bones of their own. Spine and neck may have any number of bones and are kept as chains.
JOINTS = ("pelvis", "head", *(f"{side}_{part}" for side in ("left", "right") for part in _SIDED))
OPTIONAL_JOINTS = ("head", *(f"{side}_{part}" for side in ("left", "right") for part in ("foot", "collar", "wrist")))
REQUIRED_JOINTS = tuple(joint for joint in JOINTS if joint not in OPTIONAL_JOINTS)
LIMBS = {
    f"{side}_{limb}": tuple(f"{side}_{part}" for part in parts)
    for side in ("left", "right")
    for limb, parts in (("leg", ("hip", "knee", "ankle")), ("arm", ("shoulder", "elbow", "wrist")))
}
IK_STRETCH = "ik_stretch"  # of a pose bone, built in: above zero, Blender's IK shortens bent legs
IK_INFLUENCE = "ik_influence"  # of a pose bone's IK constraints, all of them
_MOST_PREFIXES = 20  # that are tried on an armature: in a hostile one every bone's name could end like the pelvis's
_LONGEST_REASON = 300  # characters of an error's reason, which may quote a key as long as the file
_MOST_PARTS = 4  # of a dotted key; maps have two, and the time that tomllib takes for one grows with their square
# In TOML text, a string, a comment or the delimiter of a string of several lines, which maps do not have. An
# unterminated string ends the match with the line, so that the search takes linear time.
_TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|#[^\n]*')
_DEEP_KEY = re.compile(rf"(?:\.[\w \t-]*){{{_MOST_PARTS}}}")


class MapError(CodedError):
    """A map cannot be read, or does not fit a rig; the text is a sentence for the animator."""


@dataclass(frozen=True)
class _Bytes:
    """The length of a text in UTF-8: Blender's names have at most 63 bytes."""

    least: int
    most: int = 63

    def check(self, value: str) -> str:
        return "" if self.least <= len(value.encode()) <= self.most else f"not of {self.least} to {self.most} bytes"


@dataclass(frozen=True)
class _Keys:
    """The keys that a table may have."""

    known: Collection[str]

    def check(self, value: dict[str, Any]) -> str:
        unknown = [key for key in value if key not in self.known]
        return f"with the unknown key {unknown[0]}; known keys are {', '.join(self.known)}" if unknown else ""


_Name = Annotated[str, _Bytes(1)]
_OptionalName = Annotated[str, _Bytes(0)]
_Value = Annotated[float, Within(-1e6, 1e6)]
_Chain = Annotated[tuple[_Name, ...], AtMost(100)]
_Bones = Annotated[dict[_Name, _Name], AtMost(1000)]


@dataclass(frozen=True)
class Setting:
    """A property of a pose bone and the value that the map's controls need."""

    bone: _Name
    property: _Name  # a custom property, IK_STRETCH or IK_INFLUENCE
    value: _Value


@dataclass(frozen=True)
class Switch:
    """A custom property of a pose bone that blends a limb between IK and FK."""

    bone: _Name
    property: _Name
    ik: _Value  # its value for IK
    fk: _Value


@dataclass(frozen=True)
class LimbIK:
    """The IK controls of a limb, whose three joints are ``LIMBS[limb]``."""

    target: _OptionalName = ""  # control keyed in location and rotation; moves with the bone of the limb's last joint
    pole: _OptionalName = ""  # control keyed in location; the knee or elbow points to it
    toe: _OptionalName = ""  # control keyed in rotation; moves with the bone of "left_foot" or "right_foot"
    switch: Switch | None = None


@dataclass(frozen=True)
class RigMap:
    """A rig's bones by SMPL joint. All names are bone names.

    The head of a mapped bone is the joint: a limb's direction goes from its bone's head to the head of the next joint's
    bone (the tail may point anywhere). A joint that is not in ``bones`` has no bone; its rotation is applied to the
    bone above. A map read from a file has the file's names; ``fit`` returns a map with the names of an armature.
    """

    name: Annotated[str, _Bytes(0, 200)]
    bones: Annotated[_Bones, _Keys(JOINTS)]  # joint -> bone; includes all REQUIRED_JOINTS
    spine: _Chain = ()  # bones above the pelvis, up to the parent of neck and collars; may be empty
    neck: _Chain = ()  # bones between spine and head; may be empty
    # The orientation of each spine bone: 0 is the pelvis's, 1 spine1's, 2 spine2's, 3 spine3's, and 1.5 is halfway
    # between spine1's and spine2's (slerp of orientations in world space). Ascending, the last is 3.
    spine_at: tuple[_Value, ...] = ()
    # The same for the neck's bones: 0 is spine3's orientation and 1 SMPL's neck's. Ascending, the last is 1.
    neck_at: tuple[_Value, ...] = ()
    controls: _Bones = field(default_factory=dict)  # bone -> control to key; other bones are keyed
    location_bone: _OptionalName = ""  # bone whose control is keyed in location, too, and moves the body; "": pelvis
    root: _OptionalName = ""  # bone on the floor for root motion, an ancestor of all others; "" if there is none
    # joint -> twist bones along its limb
    twists: Annotated[dict[str, _Chain], _Keys(JOINTS)] = field(default_factory=dict)
    # finger joint of HAND_JOINT_NAMES -> bone. A rig may lack any of them; bones in the palm are left out.
    fingers: Annotated[_Bones, _Keys(HAND_JOINT_NAMES)] = field(default_factory=dict)
    # one of LIMBS -> its IK controls and switch
    ik: Annotated[dict[str, LimbIK], _Keys(tuple(LIMBS))] = field(default_factory=dict)
    settings: Annotated[tuple[Setting, ...], AtMost(1000)] = ()
    # bones that are not keyed, by which this kind of rig is told from others
    marks: Annotated[tuple[_Name, ...], AtMost(100)] = ()
    # bones that a rig may lack, besides twist bones; empty in fitted maps
    optional: Annotated[tuple[_Name, ...], AtMost(1000)] = ()

    def __post_init__(self) -> None:
        for chain, at, top in (("spine", "spine_at", 3.0), ("neck", "neck_at", 1.0)):
            if not getattr(self, at):
                object.__setattr__(self, at, _evenly(len(getattr(self, chain)), top))
        object.__setattr__(self, "location_bone", self.location_bone or self.bones.get("pelvis", ""))

    def control(self, bone: str) -> str:
        """The control to key for a bone; the bone itself if it has none."""
        return self.controls.get(bone, bone)

    def dispensable(self) -> set[str]:
        """The bones and controls that a rig may lack."""
        twists = {bone for bones in self.twists.values() for bone in bones}
        fingers = set(self.fingers.values())
        return {*self.optional, *twists, *fingers, *(self.control(bone) for bone in fingers)}

    def mapped_bones(self) -> dict[str, str]:
        """All bones of joints, spine and neck, without fingers, by a name to show: "left_hip", "spine 2/4"."""
        chains = {
            f"{chain} {number}/{len(bones)}": bone
            for chain, bones in (("spine", self.spine), ("neck", self.neck))
            for number, bone in enumerate(bones, 1)
        }
        return {**self.bones, **chains}


def _evenly(count: int, top: float) -> tuple[float, ...]:
    return tuple(top * (number + 1) / count for number in range(count))


# --- fitting ---------------------------------------------------------------------------------------------------------


class _Names:
    """The bone names of an armature, prepared for the comparison with many maps."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact = frozenset(names)
        ordered = sorted(self.exact)
        self.by_normalized: dict[str, str] = {}
        for name, plain in (*zip(ordered, ordered, strict=True), *zip(ordered, without_counters(ordered), strict=True)):
            self.by_normalized.setdefault(_normalized(plain), name)

    def prefixes(self, pelvis: str) -> list[str]:
        """Prefixes that the armature's names may have before a map's names, the shortest first; "" is one of them."""
        ends = {name.removesuffix(pelvis) for name in self.by_normalized if name.endswith(pelvis)}
        return sorted({"", *ends}, key=lambda prefix: (len(prefix), prefix))[:_MOST_PREFIXES]


def fit(rig_map: RigMap, names: Iterable[str]) -> RigMap:
    """The map with an armature's bone names, without the optional bones and twist bones that the armature lacks.

    Names are compared without case and punctuation ("upper_arm.L" and "UpperArmL"), without the numbers that a program
    has put after all of them ("Hips_01"), with what FBX exporters have spelled ("thighFBXASC046L"), and with any common
    prefix of the armature's names ("mixamorig:Hips"). Raises MapError with the missing bones.
    """
    return _fit(rig_map, _Names(names))


def _fit(rig_map: RigMap, names: _Names) -> RigMap:
    known = names.by_normalized
    normalized = {name: _normalized(name) for name in all_names(rig_map)}
    optional = rig_map.dispensable()
    required = [name for name in normalized if name not in optional]
    missing_by_prefix = {
        prefix: [name for name in required if prefix + normalized[name] not in known]
        for prefix in names.prefixes(normalized[rig_map.bones["pelvis"]])
    }
    prefix = min(missing_by_prefix, key=lambda candidate: len(missing_by_prefix[candidate]))
    if missing := missing_by_prefix[prefix]:
        shown = ", ".join([*missing[:6], *([f"and {len(missing) - 6} more of them"] if len(missing) > 6 else [])])
        raise MapError(
            f"The rig lacks {len(missing)} of the {len(required)} bones in the map {rig_map.name}: {shown}. "
            "Choose another map, or guess a map and correct it.",
            code="rig-map-bones-missing",
        )

    def armature_name(name: str) -> str:
        return name if not name or name in names.exact else known[prefix + normalized[name]]

    missing_optional = {name for name in optional if prefix + normalized[name] not in known}
    return renamed(without(rig_map, missing_optional), armature_name)


def without(rig_map: RigMap, missing: Collection[str]) -> RigMap:
    """The map without missing bones, and with no optional bones left.

    Shortened chains keep their ``spine_at`` values but for the last, or get even ones if they were even.
    """
    spine, neck = (tuple(bone for bone in chain if bone not in missing) for chain in (rig_map.spine, rig_map.neck))
    twists = {joint: tuple(bone for bone in bones if bone not in missing) for joint, bones in rig_map.twists.items()}
    return replace(
        rig_map,
        bones={joint: bone for joint, bone in rig_map.bones.items() if bone not in missing},
        spine=spine,
        neck=neck,
        fingers={
            joint: bone for joint, bone in rig_map.fingers.items() if not {bone, rig_map.control(bone)} & set(missing)
        },
        spine_at=_shortened(rig_map.spine, rig_map.spine_at, missing, 3.0),
        neck_at=_shortened(rig_map.neck, rig_map.neck_at, missing, 1.0),
        controls={bone: name for bone, name in rig_map.controls.items() if not {bone, name} & set(missing)},
        root="" if rig_map.root in missing else rig_map.root,
        twists={joint: bones for joint, bones in twists.items() if bones},
        settings=tuple(setting for setting in rig_map.settings if setting.bone not in missing),
        optional=(),
    )


def _shortened(
    chain: tuple[str, ...], at: tuple[float, ...], missing: Collection[str], top: float
) -> tuple[float, ...]:
    kept = [value for bone, value in zip(chain, at, strict=True) if bone not in missing]
    return () if at == _evenly(len(at), top) or not kept else (*kept[:-1], top)


def mirrored(rig_map: RigMap) -> RigMap:
    """The map with left and right exchanged, for rigs whose object has a negative scale."""

    def other(joint: str) -> str:
        side, _, part = joint.partition("_")
        return f"{'right' if side == 'left' else 'left'}_{part}" if side in ("left", "right") else joint

    return replace(
        rig_map,
        bones={other(joint): bone for joint, bone in rig_map.bones.items()},
        fingers={other(joint): bone for joint, bone in rig_map.fingers.items()},
        twists={other(joint): bones for joint, bones in rig_map.twists.items()},
        ik={other(limb): ik for limb, ik in rig_map.ik.items()},
    )


def matching(names: Iterable[str], candidates: Iterable[RigMap]) -> RigMap | None:
    """The candidate that fits an armature and uses the most of its bones, fitted; None if none fits."""
    prepared = _Names(names)
    fitted = []
    for candidate in candidates:
        try:
            fitted.append(_fit(candidate, prepared))
        except MapError:
            continue
    return max(fitted, key=lambda candidate: (len(candidate.marks), len(all_names(candidate))), default=None)


def _normalized(name: str) -> str:
    """A name without case and punctuation, full-width forms and spelled characters; a Japanese side comes last.

    Exporters turn dots and colons into underscores, and MMD tools "左足" into "足.L".
    """
    plain = unicodedata.normalize("NFKC", decoded(name)).casefold()
    side = {"左": "l", "右": "r"}.get(plain[:1], "")
    return re.sub(r"[\W_]+", "", plain[1:] + side if side else plain)


def renamed(rig_map: RigMap, change: Callable[[str], str]) -> RigMap:
    """The map with all its bone names changed."""

    def all_of(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(change, names))

    def switch(old: Switch | None) -> Switch | None:
        return old and replace(old, bone=change(old.bone))

    return replace(
        rig_map,
        bones={joint: change(bone) for joint, bone in rig_map.bones.items()},
        fingers={joint: change(bone) for joint, bone in rig_map.fingers.items()},
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
        marks=all_of(rig_map.marks),
        optional=all_of(rig_map.optional),
    )


def all_names(rig_map: RigMap) -> list[str]:
    """The names of all bones and controls in a map, without duplicates."""
    names: dict[str, None] = {}

    def collect(name: str) -> str:
        names[name] = None
        return name

    renamed(rig_map, collect)
    names.pop("", None)
    return list(names)


# --- files -----------------------------------------------------------------------------------------------------------


def read(path: Path) -> RigMap:
    """Read a map's file. Raises MapError with the first error in it."""
    try:
        text = read_bounded(path, limits.RIG_MAP_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: it is no text, or the path has a null character
        reason = getattr(error, "strerror", None) or error
        raise MapError(f"{path.name} cannot be read as a rig map: {reason}.", code="rig-map-unreadable") from error
    return from_toml(text, path.name)


def write(rig_map: RigMap, path: Path) -> None:
    """Write a map's file. Raises MapError if it cannot be written; an existing file is then left as it was."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, to_toml(rig_map))
    except (OSError, ValueError) as error:  # ValueError: a null character or a lone surrogate in the path
        reason = getattr(error, "strerror", None) or error
        raise MapError(f"The rig map cannot be written to {path}: {reason}.", code="rig-map-not-writable") from error


@cache
def shipped() -> dict[str, RigMap]:
    """The bundled maps, by their file names without the suffix."""
    folder = Path(__file__).resolve().parent / "maps"
    return {path.stem: read(path) for path in sorted(folder.glob("*.toml"))}


@lru_cache(maxsize=16)  # panels look at the edited map at each redraw
def from_toml(text: str, source: str) -> RigMap:
    """A map from its TOML text; ``source`` is the file name for error messages. Raises MapError.

    All of it is checked, because maps are exchanged between users.
    """
    try:
        if len(text.encode()) > limits.RIG_MAP_BYTES:
            raise ValueError(f"it has more than {limits.RIG_MAP_BYTES} bytes")
        _refuse_deep_keys(text)
        return _checked(tomllib.loads(text))
    # Besides TOMLDecodeError and InvalidRecord, which are ValueErrors: arrays in arrays without end, integers of
    # thousands of digits and lone surrogates.
    except (RecursionError, ValueError) as error:
        raise MapError(
            f"{source} is not a rig map: {str(error)[:_LONGEST_REASON]}. It must be a TOML file as Save Map writes it.",
            code="rig-map-invalid",
        ) from error


def _refuse_deep_keys(text: str) -> None:
    """Raise ValueError for keys of many parts, with which tomllib would take minutes for a file of few bytes."""
    plain = _TOKEN.sub(lambda match: match[0] if len(match[0]) == 3 and len(set(match[0])) == 1 else "_", text)
    if '"' in plain or "'" in plain:
        raise ValueError("it has a string of several lines")
    if _DEEP_KEY.search(plain):
        raise ValueError(f"it has a key of more than {_MOST_PARTS} parts")


def _checked(table: dict[str, Any]) -> RigMap:
    """The map of a TOML table. Raises ValueError with the first error in it."""
    # Version 0.1 called the key "mover": maps that users saved with it stay readable.
    rig_map = records.make(RigMap, {("location_bone" if key == "mover" else key): table[key] for key in table}, "map")
    if missing := [joint for joint in REQUIRED_JOINTS if joint not in rig_map.bones]:
        raise ValueError(f"the table [bones] lacks {', '.join(missing)}")
    for chain, at, top in ((rig_map.spine, rig_map.spine_at, 3.0), (rig_map.neck, rig_map.neck_at, 1.0)):
        if len(chain) != len(at) or list(at) != sorted(at) or (at and (at[0] < 0 or at[-1] != top)):
            raise ValueError(f"spine_at and neck_at need one ascending number a bone, the last one {top:g}")
    mapped = [*rig_map.mapped_bones().values(), *rig_map.fingers.values()]
    if duplicates := [bone for bone in dict.fromkeys(mapped) if mapped.count(bone) > 1]:
        raise ValueError(f"the bone {duplicates[0]} is named for two joints")
    required = {*(rig_map.bones[joint] for joint in REQUIRED_JOINTS), rig_map.location_bone}
    if contradictory := required & set(rig_map.optional):
        raise ValueError(f"the bone {min(contradictory)} cannot be optional")
    if unmapped := [bone for bone in (rig_map.location_bone, *rig_map.controls) if bone not in mapped]:
        raise ValueError(f"the bone {unmapped[0]} has a control but is mapped to no joint")
    return rig_map


def to_toml(rig_map: RigMap) -> str:
    """A map as TOML text, the inverse of ``from_toml``."""
    # A JSON string is a TOML string, except that TOML also wants the delete character escaped.
    quote = lambda text: json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # noqa: E731
    array = lambda values: f"[{', '.join(quote(v) if isinstance(v, str) else repr(float(v)) for v in values)}]"  # noqa: E731
    lines = [f"name = {quote(rig_map.name)}"]
    lines += [f"{key} = {quote(getattr(rig_map, key))}" for key in ("location_bone", "root") if getattr(rig_map, key)]
    for key in ("spine", "spine_at", "neck", "neck_at", "optional", "marks"):
        if getattr(rig_map, key):
            lines.append(f"{key} = {array(getattr(rig_map, key))}")
    lines += ["", "[bones]", *(f"{joint} = {quote(bone)}" for joint, bone in rig_map.bones.items())]
    if rig_map.fingers:
        lines += ["", "[fingers]", *(f"{joint} = {quote(bone)}" for joint, bone in rig_map.fingers.items())]
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
