"""Bones of the test rigs, all fitted to one body: 1.65 m tall, z up, facing -y, in A-pose.

``read`` returns skeletons by MakeHuman's community (``skeletons.json``, CC0); the tables below fit the names and
hierarchies of other tools' skeletons to the same body.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# One chain of bones a line: "parent: bone bone ... @ start end" divides the line between two landmarks evenly. A line
# with {s} is repeated for both sides, with the table's two words in place of {s}.
_UNREAL = """
-: root @ floor ahead
root: pelvis @ pelvis waist
{spine}
neck_{last}: head @ head top
{chest}: clavicle_{s} @ collar shoulder
clavicle_{s}: upperarm_{s} @ shoulder elbow
upperarm_{s}: lowerarm_{s} @ elbow wrist
lowerarm_{s}: hand_{s} @ wrist knuckle
hand_{s}: {metacarpal}index_01_{s} index_02_{s} index_03_{s} @ finger2 finger2_tip
hand_{s}: thumb_01_{s} thumb_02_{s} thumb_03_{s} @ finger1 finger1_tip
hand_{s}: pinky_01_{s} pinky_02_{s} pinky_03_{s} @ finger5 finger5_tip
pelvis: thigh_{s} @ hip knee
thigh_{s}: calf_{s} @ knee ankle
calf_{s}: foot_{s} @ ankle ball
foot_{s}: ball_{s} @ ball toe
{twists}
root: ik_foot_root @ floor ahead
ik_foot_root: ik_foot_{s} @ ankle ball
root: ik_hand_root @ floor ahead
ik_hand_root: ik_hand_gun @ floor ahead
ik_hand_gun: ik_hand_{s} @ wrist knuckle
"""


def _unreal(spine: str, chest: str, last: str, twists: tuple[str, ...], metacarpal: str = "") -> str:
    limbs = {"upperarm": "shoulder elbow", "lowerarm": "elbow wrist", "thigh": "hip knee", "calf": "knee ankle"}
    lines = [f"{limb}_{{s}}: {limb}_twist_{n}_{{s}} @ {where}" for limb, where in limbs.items() for n in twists]
    text = _UNREAL.replace("{spine}", spine).replace("{chest}", chest).replace("{last}", last)
    return text.replace("{metacarpal}", metacarpal).replace("{twists}", "\n".join(lines))


_TABLES: dict[str, tuple[tuple[str, str], str]] = {
    "unreal_ue5": (
        ("l", "r"),
        _unreal(
            "pelvis: spine_01 spine_02 spine_03 spine_04 spine_05 @ waist neck\nspine_05: neck_01 neck_02 @ neck head",
            "spine_05", "02", ("01", "02"), "index_metacarpal_{s} ",
        ) + "-: interaction @ floor ahead\n-: center_of_mass @ floor ahead\n",
    ),
    "unity_humanoid": (
        ("Left", "Right"),
        """
-: Root @ floor ahead
Root: Hips @ pelvis waist
Hips: Spine Chest UpperChest @ waist neck
UpperChest: Neck @ neck head
Neck: Head @ head top
UpperChest: {s}Shoulder @ collar shoulder
{s}Shoulder: {s}UpperArm @ shoulder elbow
{s}UpperArm: {s}LowerArm @ elbow wrist
{s}LowerArm: {s}Hand @ wrist knuckle
{s}Hand: {s}IndexProximal {s}IndexIntermediate {s}IndexDistal @ finger2 finger2_tip
{s}Hand: {s}ThumbProximal {s}ThumbIntermediate {s}ThumbDistal @ finger1 finger1_tip
Hips: {s}UpperLeg @ hip knee
{s}UpperLeg: {s}LowerLeg @ knee ankle
{s}LowerLeg: {s}Foot @ ankle ball
{s}Foot: {s}Toes @ ball toe
""",
    ),
    "vroid": (
        ("L", "R"),
        """
-: Root @ floor ahead
Root: J_Bip_C_Hips @ pelvis waist
J_Bip_C_Hips: J_Bip_C_Spine J_Bip_C_Chest J_Bip_C_UpperChest @ waist neck
J_Bip_C_UpperChest: J_Bip_C_Neck @ neck head
J_Bip_C_Neck: J_Bip_C_Head @ head top
J_Bip_C_Head: J_Adj_{s}_FaceEye @ head top
J_Bip_C_Head: J_Sec_Hair1_01 J_Sec_Hair2_01 J_Sec_Hair3_01 @ top floor_behind
J_Bip_C_UpperChest: J_Sec_{s}_Bust1 J_Sec_{s}_Bust2 @ neck ahead
J_Bip_C_UpperChest: J_Bip_{s}_Shoulder @ collar shoulder
J_Bip_{s}_Shoulder: J_Bip_{s}_UpperArm @ shoulder elbow
J_Bip_{s}_UpperArm: J_Bip_{s}_LowerArm @ elbow wrist
J_Bip_{s}_LowerArm: J_Bip_{s}_Hand @ wrist knuckle
J_Bip_{s}_Hand: J_Bip_{s}_Index1 J_Bip_{s}_Index2 J_Bip_{s}_Index3 @ finger2 finger2_tip
J_Bip_{s}_Hand: J_Bip_{s}_Thumb1 J_Bip_{s}_Thumb2 J_Bip_{s}_Thumb3 @ finger1 finger1_tip
J_Bip_C_Hips: J_Bip_{s}_UpperLeg @ hip knee
J_Bip_{s}_UpperLeg: J_Bip_{s}_LowerLeg @ knee ankle
J_Bip_C_Hips: J_Sec_{s}_SkirtFront0 J_Sec_{s}_SkirtFront1 J_Sec_{s}_SkirtFront2 @ hip ankle
J_Bip_{s}_LowerLeg: J_Bip_{s}_Foot @ ankle ball
J_Bip_{s}_Foot: J_Bip_{s}_ToeBase @ ball toe
""",
    ),
    "daz_genesis_8": (
        ("l", "r"),
        """
-: hip @ waist pelvis
hip: pelvis @ pelvis waist
hip: abdomenLower abdomenUpper chestLower chestUpper @ waist neck
chestUpper: neckLower neckUpper @ neck head
neckUpper: head @ head top
chestLower: {s}Pectoral @ collar ahead
chestUpper: {s}Collar @ collar shoulder
{s}Collar: {s}ShldrBend {s}ShldrTwist @ shoulder elbow
{s}ShldrTwist: {s}ForearmBend {s}ForearmTwist @ elbow wrist
{s}ForearmTwist: {s}Hand @ wrist knuckle
{s}Hand: {s}Thumb1 {s}Thumb2 {s}Thumb3 @ finger1 finger1_tip
{s}Hand: {s}Carpal1 {s}Index1 {s}Index2 {s}Index3 @ knuckle finger2_tip
{s}Hand: {s}Carpal2 {s}Mid1 {s}Mid2 {s}Mid3 @ knuckle finger3_tip
pelvis: {s}ThighBend {s}ThighTwist @ hip knee
{s}ThighTwist: {s}Shin @ knee ankle
{s}Shin: {s}Foot {s}Metatarsals @ ankle ball
{s}Foot: {s}Toe @ ball toe
{s}Toe: {s}BigToe {s}BigToe_2 @ ball toe
{s}Toe: {s}SmallToe1 {s}SmallToe1_2 @ ball toe
""",
    ),
    "daz_genesis_9": (
        ("l", "r"),
        """
-: hip @ waist pelvis
hip: pelvis @ pelvis waist
hip: spine1 spine2 spine3 spine4 @ waist neck
spine4: neck1 neck2 @ neck head
neck2: head @ head top
spine4: {s}_pectoral @ collar ahead
spine4: {s}_shoulder @ collar shoulder
{s}_shoulder: {s}_upperarm @ shoulder elbow
{s}_upperarm: {s}_upperarmtwist1 {s}_upperarmtwist2 @ shoulder elbow
{s}_upperarm: {s}_forearm @ elbow wrist
{s}_forearm: {s}_forearmtwist1 {s}_forearmtwist2 @ elbow wrist
{s}_forearm: {s}_hand @ wrist knuckle
{s}_hand: {s}_thumb1 {s}_thumb2 {s}_thumb3 @ finger1 finger1_tip
{s}_hand: {s}_indexmetacarpal {s}_index1 {s}_index2 {s}_index3 @ knuckle finger2_tip
pelvis: {s}_thigh @ hip knee
{s}_thigh: {s}_thightwist1 {s}_thightwist2 @ hip knee
{s}_thigh: {s}_shin @ knee ankle
{s}_shin: {s}_foot @ ankle ball
{s}_foot: {s}_metatarsals @ ankle ball
{s}_foot: {s}_toes @ ball toe
{s}_toes: {s}_bigtoe1 {s}_bigtoe2 @ ball toe
""",
    ),
    "character_creator": (
        ("L", "R"),
        """
-: RL_BoneRoot @ floor ahead
RL_BoneRoot: CC_Base_Hip @ waist pelvis
CC_Base_Hip: CC_Base_Pelvis @ pelvis waist
CC_Base_Hip: CC_Base_Waist CC_Base_Spine01 CC_Base_Spine02 @ waist neck
CC_Base_Spine02: CC_Base_NeckTwist01 CC_Base_NeckTwist02 @ neck head
CC_Base_NeckTwist02: CC_Base_Head @ head top
CC_Base_Head: CC_Base_FacialBone @ head ahead
CC_Base_Spine02: CC_Base_{s}_RibsTwist @ collar ahead
CC_Base_Spine02: CC_Base_{s}_Clavicle @ collar shoulder
CC_Base_{s}_Clavicle: CC_Base_{s}_Upperarm @ shoulder elbow
CC_Base_{s}_Upperarm: CC_Base_{s}_UpperarmTwist01 CC_Base_{s}_UpperarmTwist02 @ shoulder elbow
CC_Base_{s}_Upperarm: CC_Base_{s}_Forearm @ elbow wrist
CC_Base_{s}_Forearm: CC_Base_{s}_ForearmTwist01 CC_Base_{s}_ForearmTwist02 @ elbow wrist
CC_Base_{s}_Forearm: CC_Base_{s}_Hand @ wrist knuckle
CC_Base_{s}_Hand: CC_Base_{s}_Index1 CC_Base_{s}_Index2 CC_Base_{s}_Index3 @ finger2 finger2_tip
CC_Base_{s}_Hand: CC_Base_{s}_Thumb1 CC_Base_{s}_Thumb2 CC_Base_{s}_Thumb3 @ finger1 finger1_tip
CC_Base_Pelvis: CC_Base_{s}_Thigh @ hip knee
CC_Base_{s}_Thigh: CC_Base_{s}_ThighTwist01 CC_Base_{s}_ThighTwist02 @ hip knee
CC_Base_{s}_Thigh: CC_Base_{s}_Calf @ knee ankle
CC_Base_{s}_Calf: CC_Base_{s}_CalfTwist01 CC_Base_{s}_CalfTwist02 @ knee ankle
CC_Base_{s}_Calf: CC_Base_{s}_Foot @ ankle ball
CC_Base_{s}_Foot: CC_Base_{s}_ToeBase @ ball toe
CC_Base_{s}_ToeBase: CC_Base_{s}_BigToe1 @ ball toe
""",
    ),
    "autorig_pro": (
        ("l", "r"),
        """
-: root @ floor ahead
root: root.x @ pelvis waist
root.x: spine_01.x spine_02.x spine_03.x @ waist neck
spine_03.x: neck.x @ neck head
neck.x: head.x @ head top
spine_03.x: shoulder.{s} @ collar shoulder
shoulder.{s}: arm_stretch.{s} @ shoulder elbow
arm_stretch.{s}: arm_twist.{s} @ shoulder elbow
arm_stretch.{s}: forearm_stretch.{s} @ elbow wrist
forearm_stretch.{s}: forearm_twist.{s} @ elbow wrist
forearm_stretch.{s}: hand.{s} @ wrist knuckle
hand.{s}: index1.{s} index2.{s} index3.{s} @ finger2 finger2_tip
hand.{s}: thumb1.{s} thumb2.{s} thumb3.{s} @ finger1 finger1_tip
root.x: thigh_stretch.{s} @ hip knee
thigh_stretch.{s}: thigh_twist.{s} @ hip knee
thigh_stretch.{s}: leg_stretch.{s} @ knee ankle
leg_stretch.{s}: leg_twist.{s} @ knee ankle
leg_stretch.{s}: foot.{s} @ ankle ball
foot.{s}: toes_01.{s} @ ball toe
""",
    ),
    "smplx": (
        ("left", "right"),
        """
-: root @ floor ahead
root: pelvis @ pelvis waist
pelvis: spine1 spine2 spine3 @ waist neck
spine3: neck @ neck head
neck: head @ head top
head: jaw @ head ahead
head: {s}_eye_smplhf @ head top
spine3: {s}_collar @ collar shoulder
{s}_collar: {s}_shoulder @ shoulder elbow
{s}_shoulder: {s}_elbow @ elbow wrist
{s}_elbow: {s}_wrist @ wrist knuckle
{s}_wrist: {s}_index1 {s}_index2 {s}_index3 @ finger2 finger2_tip
{s}_wrist: {s}_thumb1 {s}_thumb2 {s}_thumb3 @ finger1 finger1_tip
pelvis: {s}_hip @ hip knee
{s}_hip: {s}_knee @ knee ankle
{s}_knee: {s}_ankle @ ankle ball
{s}_ankle: {s}_foot @ ball toe
""",
    ),
    "smpl": (
        ("L", "R"),
        """
-: m_avg_root @ floor ahead
m_avg_root: m_avg_Pelvis @ pelvis waist
m_avg_Pelvis: m_avg_Spine1 m_avg_Spine2 m_avg_Spine3 @ waist neck
m_avg_Spine3: m_avg_Neck @ neck head
m_avg_Neck: m_avg_Head @ head top
m_avg_Spine3: m_avg_{s}_Collar @ collar shoulder
m_avg_{s}_Collar: m_avg_{s}_Shoulder @ shoulder elbow
m_avg_{s}_Shoulder: m_avg_{s}_Elbow @ elbow wrist
m_avg_{s}_Elbow: m_avg_{s}_Wrist m_avg_{s}_Hand @ wrist finger3_tip
m_avg_Pelvis: m_avg_{s}_Hip @ hip knee
m_avg_{s}_Hip: m_avg_{s}_Knee @ knee ankle
m_avg_{s}_Knee: m_avg_{s}_Ankle @ ankle ball
m_avg_{s}_Ankle: m_avg_{s}_Foot @ ball toe
""",
    ),
    "metahuman": (
        ("l", "r"),
        _unreal(
            "pelvis: spine_01 spine_02 spine_03 spine_04 spine_05 @ waist neck\nspine_05: neck_01 neck_02 @ neck head",
            "spine_05", "02", ("01", "02"), "index_metacarpal_{s} ",
        ) + """
thigh_{s}: thigh_correctiveRoot_{s} @ hip pelvis
thigh_correctiveRoot_{s}: thigh_bck_{s} @ hip pelvis
thigh_correctiveRoot_{s}: thigh_fwd_{s} @ hip pelvis
calf_{s}: calf_correctiveRoot_{s} @ knee hip
calf_correctiveRoot_{s}: calf_kneeBack_{s} @ knee hip
upperarm_{s}: upperarm_correctiveRoot_{s} @ shoulder collar
lowerarm_{s}: lowerarm_correctiveRoot_{s} @ elbow shoulder
upperarm_twist_01_{s}: upperarm_twistCor_01_{s} @ shoulder elbow
thigh_twist_01_{s}: thigh_twistCor_01_{s} @ hip knee
""",
    ),
    "mmd": (
        ("左", "右"),
        """
-: 全ての親 @ floor ahead
全ての親: センター @ waist floor
センター: 上半身 上半身2 @ waist neck
センター: 下半身 @ waist pelvis
上半身2: 首 @ neck head
首: 頭 @ head top
上半身2: {s}肩 @ collar shoulder
{s}肩: {s}腕 {s}腕捩 @ shoulder elbow
{s}腕捩: {s}ひじ {s}手捩 @ elbow wrist
{s}手捩: {s}手首 @ wrist knuckle
{s}手首: {s}人指１ {s}人指２ {s}人指３ @ finger2 finger2_tip
{s}手首: {s}中指１ {s}中指２ {s}中指３ @ finger3 finger3_tip
{s}手首: {s}親指１ {s}親指２ @ finger1 finger1_tip
下半身: {s}足 @ hip knee
{s}足: {s}ひざ @ knee ankle
{s}ひざ: {s}足首 @ ankle ball
{s}足首: {s}つま先 @ toe toe_tip
全ての親: {s}足ＩＫ @ ankle heel_behind
{s}足ＩＫ: {s}つま先ＩＫ @ toe toe_tip
""",
    ),
    "autorig_pro_control": (
        ("l", "r"),
        """
-: c_traj @ floor ahead
c_traj: c_root_master.x @ pelvis waist
c_root_master.x: c_spine_01.x c_spine_02.x c_spine_03.x @ waist neck
c_spine_03.x: c_neck.x @ neck head
c_neck.x: c_head.x @ head top
c_spine_03.x: c_shoulder.{s} @ collar shoulder
c_shoulder.{s}: c_arm_fk.{s} @ shoulder elbow
c_arm_fk.{s}: c_forearm_fk.{s} @ elbow wrist
c_forearm_fk.{s}: c_hand_fk.{s} @ wrist knuckle
c_hand_fk.{s}: c_index1.{s} c_index2.{s} c_index3.{s} @ finger2 finger2_tip
c_hand_fk.{s}: c_thumb1.{s} c_thumb2.{s} c_thumb3.{s} @ finger1 finger1_tip
c_root_master.x: c_thigh_fk.{s} @ hip knee
c_thigh_fk.{s}: c_leg_fk.{s} @ knee ankle
c_leg_fk.{s}: c_foot_fk.{s} @ ankle ball
c_foot_fk.{s}: c_toes_fk.{s} @ ball toe
c_traj: c_foot_ik.{s} @ ankle ball
c_traj: c_hand_ik.{s} @ wrist knuckle
""",
    ),
    "blenrig": (
        ("L", "R"),
        """
-: master @ floor ahead
master: master_torso @ pelvis waist
master_torso: pelvis_ctrl @ pelvis waist
pelvis_ctrl: spine_1_fk spine_2_fk spine_3_fk @ waist neck
spine_3_fk: neck_fk_ctrl @ neck head
neck_fk_ctrl: head_fk @ head top
spine_3_fk: shoulder_{s} @ collar shoulder
shoulder_{s}: arm_fk_{s} @ shoulder elbow
arm_fk_{s}: forearm_fk_{s} @ elbow wrist
forearm_fk_{s}: hand_fk_{s} @ wrist knuckle
hand_fk_{s}: fing_ind_ctrl_{s} fing_ind_2_{s} fing_ind_3_{s} @ finger2 finger2_tip
hand_fk_{s}: fing_thumb_1_{s} fing_thumb_2_{s} fing_thumb_3_{s} @ finger1 finger1_tip
master_torso: thigh_fk_{s} @ hip knee
thigh_fk_{s}: shin_fk_{s} @ knee ankle
shin_fk_{s}: foot_fk_{s} @ ankle ball
foot_fk_{s}: foot_toe_1_fk_{s} @ ball toe
master: properties_leg_{s} @ floor ahead
master: properties_arm_{s} @ floor ahead
""",
    ),
    "second_life": (
        ("Left", "Right"),
        """
-: mPelvis @ pelvis waist
mPelvis: mTorso mChest @ waist neck
mChest: mNeck @ neck head
mNeck: mHead @ head top
mHead: mSkull @ top floor_behind
mChest: mCollar{s} @ collar shoulder
mCollar{s}: mShoulder{s} @ shoulder elbow
mShoulder{s}: mElbow{s} @ elbow wrist
mElbow{s}: mWrist{s} @ wrist knuckle
mWrist{s}: mHandIndex1{s} mHandIndex2{s} mHandIndex3{s} @ finger2 finger2_tip
mWrist{s}: mHandThumb1{s} mHandThumb2{s} mHandThumb3{s} @ finger1 finger1_tip
mPelvis: mHip{s} @ hip knee
mHip{s}: mKnee{s} @ knee ankle
mKnee{s}: mAnkle{s} @ ankle ball
mAnkle{s}: mFoot{s} mToe{s} @ ball toe
""",
    ),
    "kaykit": (
        ("l", "r"),
        """
-: root @ floor ahead
root: hips @ pelvis waist
hips: spine chest @ waist neck
chest: head @ neck top
chest: upperarm.{s} @ shoulder elbow
upperarm.{s}: lowerarm.{s} @ elbow wrist
lowerarm.{s}: wrist.{s} hand.{s} @ wrist knuckle
hand.{s}: handslot.{s} @ knuckle finger3_tip
hips: upperleg.{s} @ hip knee
upperleg.{s}: lowerleg.{s} @ knee ankle
lowerleg.{s}: foot.{s} @ ankle ball
foot.{s}: toes.{s} @ ball toe
""",
    ),
    "quaternius": (
        ("L", "R"),
        """
-: Root @ floor ahead
Root: Body @ pelvis waist
Body: Hips @ pelvis waist
Hips: Abdomen Torso Chest @ waist neck
Chest: Neck @ neck head
Neck: Head @ head top
Chest: Shoulder.{s} @ collar shoulder
Shoulder.{s}: UpperArm.{s} @ shoulder elbow
UpperArm.{s}: LowerArm.{s} @ elbow wrist
LowerArm.{s}: Hand.{s} @ wrist knuckle
Body: UpperLeg.{s} @ hip knee
UpperLeg.{s}: LowerLeg.{s} @ knee ankle
Root: Foot.{s} @ ankle toe
Root: PT.{s} @ floor ahead
""",
    ),
    "quaternius_modular": (
        ("L", "R"),
        """
-: Root @ floor ahead
Root: Hips @ pelvis waist
Hips: Abdomen Torso Chest @ waist neck
Chest: Neck @ neck head
Neck: Head @ head top
Chest: Shoulder.{s} @ collar shoulder
Shoulder.{s}: UpperArm.{s} @ shoulder elbow
UpperArm.{s}: LowerArm.{s} @ elbow wrist
LowerArm.{s}: Hand.{s} @ wrist knuckle
Hand.{s}: Index1.{s} Index2.{s} Index3.{s} @ finger2 finger2_tip
Hand.{s}: Middle1.{s} Middle2.{s} Middle3.{s} @ finger3 finger3_tip
Hand.{s}: Thumb1.{s} Thumb2.{s} Thumb3.{s} @ finger1 finger1_tip
Root: UpperLeg.{s} @ hip knee
UpperLeg.{s}: LowerLeg.{s} @ knee ankle
LowerLeg.{s}: Foot.{s} @ ankle toe
""",
    ),
    "lafan": (
        ("Left", "Right"),
        """
-: Hips @ pelvis waist
Hips: Spine Spine1 Spine2 @ waist neck
Spine2: Neck @ neck head
Neck: Head @ head top
Spine2: {s}Shoulder @ collar shoulder
{s}Shoulder: {s}Arm @ shoulder elbow
{s}Arm: {s}ForeArm @ elbow wrist
{s}ForeArm: {s}Hand @ wrist knuckle
Hips: {s}UpLeg @ hip knee
{s}UpLeg: {s}Leg @ knee ankle
{s}Leg: {s}Foot @ ankle ball
{s}Foot: {s}Toe @ ball toe
""",
    ),
}  # fmt: skip
_TABLES["mmd_d"] = (
    _TABLES["mmd"][0],
    _TABLES["mmd"][1]
    + """下半身: 腰キャンセル{s} @ hip pelvis
腰キャンセル{s}: {s}足D @ hip knee
{s}足D: {s}ひざD @ knee ankle
{s}ひざD: {s}足首D @ ankle ball
{s}足首D: {s}足先EX @ ball toe
""",
)


class BoneRow(NamedTuple):
    """A bone at rest."""

    name: str
    parent: str  # "" for a root
    head: tuple[float, float, float]  # metres
    tail: tuple[float, float, float]
    roll: float  # radians, Blender's


@cache
def _carried() -> dict[str, list[BoneRow]]:
    text = Path(__file__).with_name("skeletons.json").read_text("utf-8")
    return {
        kind: [BoneRow(name, parent, tuple(at[:3]), tuple(at[3:6]), at[6]) for name, parent, *at in rows]
        for kind, rows in json.loads(text).items()
    }


KINDS = (*_carried(), *_TABLES)


def read(kind: str) -> list[BoneRow]:
    """The bones of a kind, parents first."""
    if kind in _carried():
        return _carried()[kind]
    (left, right), table = _TABLES[kind]
    rows: list[BoneRow] = []
    for line in filter(None, table.splitlines()):
        for word, side in ((left, 1), (right, -1)) if "{s}" in line else (("", 1),):
            parent, names, places = (part.strip() for part in line.replace("{s}", word).replace(":", "@", 1).split("@"))
            start, end = (landmarks(side)[place] for place in places.split())
            parent, chain = "" if parent == "-" else parent, names.split()
            points = np.linspace(start, end, len(chain) + 1).round(6).tolist()
            for name, head, tail in zip(chain, points, points[1:], strict=False):
                rows.append(BoneRow(name, parent, tuple(head), tuple(tail), 0.0))
                parent = name
    return rows


@cache
def landmarks(side: int) -> dict[str, np.ndarray]:
    """Points of the body by name, metres; those of limbs on the left (1) or the right (-1)."""
    rows = {row.name: row for kind in ("makehuman_default", "unreal_ue4") for row in _carried()[kind]}
    places = {
        "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "collar": "clavicle", "shoulder": "upperarm01",
        "elbow": "lowerarm01", "wrist": "wrist", "knuckle": "finger3-1",
        **{f"finger{n}": f"finger{n}-1" for n in range(1, 6)},
    }  # fmt: skip
    points = {place: rows[f"{bone}.L"].head for place, bone in places.items()}
    points |= {f"finger{n}_tip": rows[f"finger{n}-3.L"].tail for n in range(1, 6)}
    points |= {"ball": rows["ball_l"].head, "toe": rows["ball_l"].tail}
    points |= {"pelvis": rows["spine05"].head, "waist": rows["spine04"].head, "neck": rows["neck01"].head}
    points |= {"head": rows["head"].head, "top": rows["head"].tail}
    points |= {"floor": (0.0, 0.0, 0.0), "ahead": (0.0, -0.2, 0.0), "floor_behind": (0.0, 0.2, 0.0)}
    offsets = {"toe_tip": ("toe", (0, -0.005, 0)), "heel_behind": ("ankle", (0, 0.1, 0))}
    points |= {place: tuple(np.add(points[near], offset)) for place, (near, offset) in offsets.items()}
    return {place: np.array(point) * (side, 1, 1) for place, point in points.items()}
