"""The humanoid table of the VRM add-on says which bone is which, whatever the bones are called."""

import bpy
import pytest
from bpy.props import CollectionProperty, PointerProperty, StringProperty

from tests.rigs import make
from wham_blender.addon.retarget import bake, rig_map_state, vrm_humanoid
from wham_blender.addon.retarget.bake_options import Options

JOINTS = (
    "hips", "spine", "chest", "upperChest", "neck", "head",
    *(f"{side}{part}" for side in ("left", "right") for part in (
        "UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand", "IndexProximal")),
)  # fmt: skip


def snake(joint):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in joint)


def group(name, **properties):
    return type(name, (bpy.types.PropertyGroup,), {"__annotations__": properties})


@pytest.fixture
def addon():
    """Properties laid out as the VRM add-on's are; call it to disable the add-on."""
    node = group("TestVrmNode", bone_uuid=StringProperty(), armature_data_name=StringProperty())
    one = group("TestVrmBone0", bone=StringProperty(), node=PointerProperty(type=node))
    humanoid_0 = group("TestVrmHumanoid0", human_bones=CollectionProperty(type=one))
    entry = group("TestVrmBone1", node=PointerProperty(type=node))
    table = group("TestVrmTable1", **{snake(joint): PointerProperty(type=entry) for joint in JOINTS})
    humanoid_1 = group("TestVrmHumanoid1", human_bones=PointerProperty(type=table))
    vrm_0 = group("TestVrm0", humanoid=PointerProperty(type=humanoid_0))
    vrm_1 = group("TestVrm1", humanoid=PointerProperty(type=humanoid_1))
    extension = group("TestVrm", vrm0=PointerProperty(type=vrm_0), vrm1=PointerProperty(type=vrm_1))
    of_bone = group("TestVrmOfBone", uuid=StringProperty())
    classes = [node, one, humanoid_0, entry, table, humanoid_1, vrm_0, vrm_1, extension, of_bone]
    for each in classes:
        bpy.utils.register_class(each)
    bpy.types.Armature.vrm_addon_extension = PointerProperty(type=extension)
    bpy.types.Bone.vrm_addon_extension = PointerProperty(type=of_bone)
    enabled = True

    def disable():
        nonlocal enabled
        if enabled:
            del bpy.types.Armature.vrm_addon_extension, bpy.types.Bone.vrm_addon_extension
            for each in reversed(classes):
                bpy.utils.unregister_class(each)
        enabled = False

    yield disable
    disable()


def humanoid(version, without=()):
    """A rig whose names say nothing, with a table; the map that it must get, by joint."""
    rig = make.make_rig("unity_humanoid")
    extension = rig.data.vrm_addon_extension
    before = known(rig)
    for joint in JOINTS:
        bone = rig.data.bones[joint[0].upper() + joint[1:]]
        bone.vrm_addon_extension.uuid = f"uuid of {joint}"
        if joint in without:
            continue
        if version == 0:
            entry = extension.vrm0.humanoid.human_bones.add()
            entry.bone = joint
        else:
            entry = getattr(extension.vrm1.humanoid.human_bones, snake(joint))
        entry.node.bone_uuid = f"uuid of {joint}"
    new = {}
    for number, bone in enumerate(rig.data.bones):
        new[bone.name] = f"Knochen {number}"
        bone.name = new[bone.name]
    return rig, {joint: new[bone] for joint, bone in before.mapped_bones().items()}


def known(rig):
    found = rig_map_state.known_map(rig)
    assert found is not None
    return found


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "disabled"])
def test_the_table_names_the_bones(addon, version, enabled):
    rig, wanted = humanoid(version)
    if not enabled:
        addon()
    found = known(rig)
    assert found.name == "VRM humanoid"
    assert found.mapped_bones() == wanted
    assert rig.data.bones[found.root].parent is None


def test_optional_bones_may_be_missing_and_those_of_the_body_may_not(addon):
    rig, wanted = humanoid(1, without=("upperChest", "leftToes", "rightToes"))
    found = known(rig)
    assert (len(found.spine), found.bones.get("left_foot")) == (2, None)
    assert found.bones["left_wrist"] == wanted["left_wrist"]
    assert vrm_humanoid.known_map(humanoid(1, without=("leftLowerLeg",))[0]) is None


def test_a_damaged_table_is_no_map(addon):
    rig, _ = humanoid(0)
    entries = rig.data.vrm_addon_extension.vrm0.humanoid.human_bones
    entries[0].node.bone_uuid = entries[1].node.bone_uuid
    assert vrm_humanoid.known_map(rig) is None
    addon()
    plain = make.make_rig("unity_humanoid")
    for stored in (3, "x", {"vrm0": 1}, {"vrm0": {"humanoid": {"human_bones": "hips"}}}, {"vrm1": [1.0, 2.0]}):
        plain.data["vrm_addon_extension"] = stored
        assert vrm_humanoid.known_map(plain) is None


def test_a_bundled_map_knows_more_than_the_table(addon):
    rig, _ = humanoid(1)
    for number, bone in enumerate(rig.data.bones):
        bone.name = f"x{number}"
    assert known(rig).name == "VRM humanoid"
    assert known(make.make_rig("vroid")).name == "VRM (VRoid Studio)"


def test_such_a_rig_is_baked_without_a_guess(addon, motion_path):
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="CLIP")
    source = bpy.context.selected_objects[0]
    rig, _ = humanoid(0)
    rig_map = rig_map_state.map_of(rig)
    bake.bake(source, rig, rig_map, Options(plant_feet=False))
    bpy.context.scene.frame_set(20)
    heads = [
        [thing.matrix_world @ thing.pose.bones[bone].head for bone in bones]
        for thing, bones in (
            (source, ("left_shoulder", "left_elbow")),
            (rig, (rig_map.bones["left_shoulder"], rig_map.bones["left_elbow"])),
        )
    ]
    one, other = (end - start for start, end in heads)
    assert one.angle(other) < 2e-3
