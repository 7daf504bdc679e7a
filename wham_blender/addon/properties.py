"""The options of an import, kept in the scene; the metadata of an imported motion, kept on its armature."""

import math
from dataclasses import dataclass, field
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from .retarget.bake_options import Options
from .scene.checks import LAST_FRAME

OF_ONE_CLIP = {"sequence_fps", "clip_start", "clip_end", "rotate", "speed"}  # options that depend on the clip
_LAST_OF_CLIP = 100_000_000  # frames: 19 days at 60 a second


class BakeOptions:
    """How a motion is keyed on another rig; shared by Bake to Rig, both importers and the panel."""

    plant_feet: BoolProperty(
        name="Plant Feet",
        description="Lock the feet to the floor while they are planted in the motion, by bending the legs. If "
        "disabled, only the leg rotations are copied, and feet slide where the proportions of the bodies differ",
        default=True,
    )
    root_motion: EnumProperty(
        name="Root Motion",
        description="Bone that gets the movement over the floor",
        items=[
            ("HIPS", "Hips", "Key the movement on the hips; a root bone stays where it is"),
            (
                "ROOT",
                "Root Bone",
                "Key location and heading on the root bone and the rest on the hips, as game engines need it",
            ),
        ],
    )
    arm_spread: FloatProperty(
        name="Spread Arms",
        description="Rotate both arms outwards, for a body that is broader than the actor's. Negative values rotate "
        "them inwards",
        default=0.0,
        min=-math.pi,
        max=math.pi,
        soft_min=math.radians(-30.0),
        soft_max=math.radians(30.0),
        subtype="ANGLE",
    )
    rest_pose: EnumProperty(
        name="Rest Pose",
        description="Pose of the rig in which it stands upright, with its arms at the sides or spread",
        items=[
            ("AUTO", "Automatic", "The rest pose; the current pose if nobody could stand in that, as in motion files"),
            ("REST", "Rest Pose", "The rest pose, as Edit Mode shows it"),
            ("POSE", "Current Pose", "The pose that the rig is in now; later bakes remember it"),
        ],
    )
    keying: EnumProperty(
        name="Keys",
        description="How many keyframes the rig's controls get",
        items=[
            ("ALL", "Every Frame", "Keep one keyframe for each frame of the motion"),
            ("FEW", "Reduced", "Fit smooth curves with as few keyframes as the maximum errors allow"),
        ],
    )
    angle_error: FloatProperty(
        name="Rotation Error",
        description="Maximum rotation error of a bone after keyframe reduction",
        default=math.radians(0.5),
        min=math.radians(0.01),
        max=math.pi,
        soft_max=math.radians(5.0),
        subtype="ANGLE",
    )
    distance_error: FloatProperty(
        name="Location Error",
        description="Maximum location error of a control, and about that of a planted foot, after keyframe reduction, "
        "in meters",  # no subtype: Blender would show units of the scene, whatever its unit scale
        default=0.005,
        min=0.0001,
        max=10.0,
        soft_max=0.1,
        precision=4,
    )
    layer: EnumProperty(
        name="Bake To",
        description="Whether the motion becomes the rig's active action or an NLA strip",
        items=[
            ("ACTION", "Action", "Assign a new action to the rig; the previous action stays in the file"),
            (
                "STRIP",
                "NLA Strip",
                "Add a strip above all NLA tracks; the active action is pushed down to a strip below it",
            ),
        ],
    )


class PlacementOptions(BakeOptions):
    """Where in the scene a motion is imported; shared by both importers and the panel."""

    target: EnumProperty(
        name="Target",
        description="Which character gets the motion",
        items=[
            ("NEW", "New Character", "Create an armature with a body mesh"),
            ("BAKE", "Existing Rig", "Bake the motion onto a character of the scene, and hide the imported one"),
        ],
    )
    hands: EnumProperty(
        name="Hands",
        description="How the fingers of a new character move, and those of a rig that gets the motion",
        items=[
            ("FILM", "From the Film", "Fingers and wrists as the clip shows them; relaxed where a hand is not seen"),
            ("RELAXED", "Relaxed", "Slightly bent fingers that do not move; hands are not looked at, which is faster"),
            ("NONE", "None", "No finger bones, and rigs keep the fingers that they have; hands are not looked at"),
        ],
    )
    rig: StringProperty(
        name="Rig",
        description="Armature that gets the motion; one name a line for several people. If empty, the selected "
        "armatures are used. People and rigs are paired in the order of their names",
    )

    start_frame: IntProperty(
        name="Start Frame",
        description="Scene frame of the first frame of the motion",
        default=1,
        min=-LAST_FRAME,
        max=LAST_FRAME,
    )
    fps: EnumProperty(
        name="Frame Rate",
        description="Whether the motion is fitted to the scene's frame rate or the scene to the clip's",
        items=[
            ("AUTO", "Auto", "Clip where nothing in the scene is animated yet, else Scene"),
            (
                "SCENE",
                "Scene",
                "Keep the scene's frame rate and place keyframes by time, on subframes if the rates differ",
            ),
            (
                "CLIP",
                "Clip",
                "Set the scene's frame rate, range, resolution and camera from the clip; one keyframe a frame, and on "
                "subframes where the clip's frames are not evenly spaced",
            ),
        ],
    )


# Numbers of VideoOptions whose 0 leaves them to the add-on, and their values when their check box is ticked.
AUTOMATIC = {"focal_length_mm": 26.0, "actor_height": 1.75, "clip_end": 100, "speed": 1.0, "sequence_fps": 24.0}


def _given(name: str, value: float) -> Any:
    """The check box of a number of AUTOMATIC: whether it is given. It stores nothing: scripts set the number."""
    return BoolProperty(
        name="Set",
        description="Set the value; if disabled, it is automatic",
        get=lambda options: getattr(options, name) > 0,
        set=lambda options, is_given: setattr(options, name, value if is_given else 0),
        options={"SKIP_SAVE"},
    )


class _GivenNumbers:
    """The check boxes of the numbers of AUTOMATIC, by their names and ``_given``; they are no options themselves."""

    # Blender 4.2 crashes when it quits if any property has a function; there the numbers are drawn without a check box.
    __annotations__ = {
        f"{name}_given": _given(name, value) for name, value in AUTOMATIC.items() if bpy.app.version >= (4, 5, 0)
    }


class VideoOptions(_GivenNumbers, PlacementOptions):
    """How the worker estimates a motion from a clip; shared by the importer and the panel."""

    person: StringProperty(
        name="Person",
        description="Which people to import: MAIN for the one who is largest and longest in view, ALL, or a number "
        "from 1, the largest first",
        default="MAIN",
    )
    gender: EnumProperty(
        name="Body",
        description="Body model of the character in Full quality; Male and Female need SMPL's files. Draft and Fast "
        "quality have one neutral body",
        items=[
            ("NEUTRAL", "Neutral", "Use SMPL's neutral body, for which the networks were trained"),
            ("MALE", "Male", "Use SMPL's male body, with the shape closest to the estimated one"),
            ("FEMALE", "Female", "Use SMPL's female body, with the shape closest to the estimated one"),
        ],
    )
    quality: EnumProperty(
        name="Quality",
        description="Which networks estimate the motion; better ones take longer",
        items=[
            ("AUTO", "Auto", "Use the best networks for which this computer has the files and the graphics card"),
            (
                "FAST",
                "Fast",
                "Use the bundled networks with a smaller landmark network: faster and less accurate than Draft",
            ),
            ("DRAFT", "Draft", "Use the small bundled networks, which run on every computer"),
            ("FULL", "Full", "Use the research networks; needs their weight files"),
        ],
    )
    world: EnumProperty(
        name="World",
        description="How people and camera are placed in the scene",
        items=[
            (
                "PLACED",
                "Placed",
                "World from the picture, WHAM's velocity and planted feet: one floor and one camera for everybody",
            ),
            (
                "WHAM",
                "WHAM",
                "The network's own contact-aware trajectory, unchanged: no fit to the picture, no foot locking",
            ),
        ],
    )
    device: StringProperty(
        name="Device",
        description="Processor on which the networks run: AUTO, CPU, CUDA for the best NVIDIA graphics card, or one of "
        "several cards, such as cuda:1",
        default="AUTO",
        maxlen=250,
    )
    focal_length_mm: FloatProperty(
        name="Focal Length",
        description="Focal length of the camera in millimeters, 35 mm equivalent; 24 to 28 for phones. "
        "Automatic (0): read from the clip's metadata or estimated",
        min=0.0,
        max=10_000.0,
        soft_max=300.0,
    )
    camera: EnumProperty(
        name="Camera",
        description="How the camera moved while the clip was filmed",
        items=[
            ("AUTO", "Auto", "Detect from the background whether the camera is static, pans or moves"),
            ("STATIC", "Static", "Treat the camera as static, even if the background moves"),
            ("MOVING", "Moving", "Never treat the camera as static, even if it moves little"),
        ],
    )
    actor_height: FloatProperty(
        name="Actor Height",
        description="Height of the first imported person in meters, to which bodies, paths and camera are scaled. "
        "Automatic (0): estimated from the picture",
        min=0.0,
        max=2.5,
        precision=2,
    )
    static_anchor: BoolProperty(
        name="Anchor to Picture",
        description="Keep people at their position in the picture if the camera is static, so that long clips do not "
        "drift. If disabled, only the network's velocity is used",
        default=True,
    )
    refine: BoolProperty(
        name="Fit to Keypoints",
        description="Fit the body to the detected keypoints (temporal SMPLify), which reduces jitter and aligns the "
        "body with the clip behind the camera. If disabled, the import is a little faster",
        default=True,
    )
    smooth: FloatProperty(
        name="Smooth",
        description="Remove jitter: movements that last less than this many seconds are smoothed. 0.1 is little, 0.3 "
        "softens steps, 0 disables it. Smooth Motion does the same after the import",
        default=0.0,
        min=0.0,
        soft_max=1.0,
        max=5.0,
    )
    clip_start: IntProperty(
        name="Clip Start", description="First frame of the clip to import", default=1, min=1, max=_LAST_OF_CLIP
    )
    clip_end: IntProperty(
        name="Clip End",
        description="Last frame of the clip to import. Automatic (0): the end of the clip",
        min=0,
        max=_LAST_OF_CLIP,
    )
    speed: FloatProperty(
        name="Slow Motion",
        description="How many times slower the film is played than it was filmed: 8 for slow motion of 240 frames a "
        "second played at 30, 1 for the film's own time. Automatic (0): read from the phone's metadata, or 1",
        min=0.0,
        max=100.0,
    )
    sequence_fps: FloatProperty(
        name="Sequence Frame Rate",
        description="Frames per second of an image sequence: numbered pictures, of which one or their folder is chosen "
        "as the clip. Automatic (0): the scene's",
        min=0.0,
        max=1000.0,
        soft_max=240.0,
    )
    rotate: EnumProperty(
        name="Rotate Clip",
        description="Turn a clip that lies on its side or is upside down clockwise, because the file does not say how "
        "the camera was held",
        items=[
            ("0", "0°", "Show the clip as video players do"),
            ("90", "90°", "For people whose heads point left"),
            ("180", "180°", "For people who are upside down"),
            ("270", "270°", "For people whose heads point right"),
        ],
    )


def option_names(options: type) -> list[str]:
    """Names of the properties of a class like VideoOptions, including those of its bases."""
    bases = [base for base in options.__mro__ if base is not _GivenNumbers]
    return [name for base in bases for name in vars(base).get("__annotations__", {})]


def option_title(name: str) -> str:
    """The title of a number of AUTOMATIC."""
    return str(VideoOptions.__annotations__[name].keywords["name"])


def copy_options(source: bpy.types.bpy_struct, target: bpy.types.bpy_struct, options: type) -> None:
    """Copy options from the panel's settings to an operator; ``options`` is the class that both have as a base."""
    for name in option_names(options):
        setattr(target, name, getattr(source, name))


@dataclass(frozen=True)
class PlacementSettings:
    """Where in the scene a motion is imported: the values of PlacementOptions, without an operator."""

    start_frame: int = 1  # scene frame of the first frame of the motion
    # The scene gets the clip's frame rate, range, resolution and camera, or keeps its own; None: by what is animated.
    clip_rate: bool | None = None
    to_rigs: bool = False  # bake onto rigs of the scene
    hands: str = "FILM"  # or RELAXED or NONE
    rigs: tuple[str, ...] = ()  # their names; empty for the selected ones
    bake: Options = field(default_factory=Options)


def bake_settings(source: BakeOptions) -> Options:
    """The settings of a bake from an operator or the scene's settings."""
    return Options(
        plant_feet=source.plant_feet,
        root_motion=source.root_motion == "ROOT",
        arm_spread=source.arm_spread,
        reduce_keys=source.keying == "FEW",
        angle_tolerance=source.angle_error,
        distance_tolerance=source.distance_error,
        nla_strip=source.layer == "STRIP",
        rest_pose=source.rest_pose,
    )


def placement_settings(source: PlacementOptions) -> PlacementSettings:
    """The settings of an import from an operator or the scene's settings."""
    return PlacementSettings(
        start_frame=source.start_frame,
        clip_rate={"CLIP": True, "SCENE": False}.get(source.fps),
        hands=source.hands,
        to_rigs=source.target == "BAKE",
        rigs=tuple(source.rig.splitlines()),
        bake=bake_settings(source),
    )


class WHAM_PG_settings(VideoOptions, bpy.types.PropertyGroup):
    """The options in the panel, kept in the scene."""

    filepath: StringProperty(
        name="Clip",
        description="Video file to import; or a folder of numbered pictures, or one of them",
        subtype="FILE_PATH",
    )
    show_contacts: BoolProperty(
        name="Show Contacts",
        description="Mark planted toes and heels, left blue, right orange: with discs and coloured foot bones in the "
        "3D Viewport, with bars in the Timeline and the Dope Sheet",
        default=True,
    )
    show_confidence: BoolProperty(
        name="Show Confidence",
        description="Show in the Timeline and the Dope Sheet how sure the keypoints are: from red to green; grey where "
        "the person was not seen",
        default=True,
    )


class WHAM_PG_motion(bpy.types.PropertyGroup):
    """Metadata of an imported motion, on its armature; its camera has what is of the clip and the world."""

    take: StringProperty(description="Identifier of an import: the same on all its objects, empty on others")
    clip: StringProperty()
    job: StringProperty(description="Name of the folder of the motion file, by which its import job is known")
    clip_sha256: StringProperty(description="Of the clip's content; on the camera only")
    person: IntProperty(description="Number of the person in the clip, from 1; 0 if it is not known")
    zero_frame: FloatProperty(description="Scene frame of the clip's time zero")
    start_frame: IntProperty(description="The option Start Frame of the import; on the camera only")
    floor: FloatProperty(description="Height of the imported floor, in meters; on the camera only")
    world_scale: FloatProperty(description="By which the world was scaled since; on the camera only", default=1.0)
    size: IntVectorProperty(size=2, description="Resolution of the clip in pixels; on the camera only")
    clip_rate: FloatProperty(description="Frames per second of the clip, as it is played", default=30.0)
    speed: FloatProperty(description="How many times slower the film is played than it was filmed", default=1.0)
    film: StringProperty(description="Why the camera shows a copy of the clip; empty if it shows the clip itself")
    keyed_rate: FloatProperty(
        description="Frames per second of the scene for which the keyframes are placed", default=30.0
    )
    quality: StringProperty()
    weights: StringProperty(description="Names and versions of the networks used")
    people: IntProperty(description="Number of people imported together")
    height: FloatProperty(subtype="DISTANCE", description="Height of the body in rest pose")
    feet: FloatVectorProperty(size=12, description="Toes and heels in rest pose, in armature space")

    frames: IntProperty(description="Number of keyframes; this and the following are measured after every edit")
    reduced: BoolProperty(description="Whether the motion has smooth curves between few keyframes; frames counts all")
    first_frame: FloatProperty()
    last_frame: FloatProperty()
    confidence: FloatProperty(description="Mean keypoint confidence over the frames with a detection, 0 to 1")
    contacts: IntProperty(description="Number of foot contacts: how often a toe or heel comes down")
    sliding: FloatProperty(description="Mean speed of planted toes and heels in meters per second; -1 without contacts")
    hidden: StringProperty(description="Scene frames in which the person was not detected")

    corrections: StringProperty(description="Corrections made by hand to what was seen in the clip, as JSON")
    places: StringProperty(description="Frames of the clip and places in its picture at which the person is seen")
    steps: StringProperty(description="Frames of the step markers as the contacts had them last, as JSON")

    doubt: StringProperty(description="What is probably wrong at the frames of the last doubt that was visited")
    doubt_operator: StringProperty(description="The operator of bpy.ops.wham that helps; empty if none does by itself")
    doubt_first: FloatProperty()
    doubt_last: FloatProperty()


def register() -> None:
    """Add the settings to scenes and the metadata to objects."""
    bpy.types.Object.wham_motion = PointerProperty(type=WHAM_PG_motion)
    bpy.types.Scene.wham = PointerProperty(type=WHAM_PG_settings)


def unregister() -> None:
    """Remove both."""
    del bpy.types.Scene.wham
    del bpy.types.Object.wham_motion
