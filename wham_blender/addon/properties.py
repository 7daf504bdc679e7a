"""What the user sets for an import, kept in the scene; and what is known of a motion, kept on its armature."""

import math

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


class BakeOptions:
    """How a motion is keyed on another rig; shared by Bake to Rig, both importers and the panel."""

    plant_feet: BoolProperty(
        name="Plant Feet",
        description="Bend the legs so that feet stand still on the floor where the motion's do; else legs only point "
        "where the motion's do, and feet slide by what the bodies differ in",
        default=True,
    )
    root_motion: EnumProperty(
        name="Root Motion",
        description="Which bone carries the character over the ground",
        items=[
            ("HIPS", "Hips", "The hips move, and a root bone stays where it is"),
            ("ROOT", "Root Bone", "The root bone goes and turns over the floor, and the hips move over it: for games"),
        ],
    )
    arm_spread: FloatProperty(
        name="Spread Arms",
        description="Turn both arms outwards, for a body that is broader than the actor's; inwards where negative",
        default=0.0,
        soft_min=math.radians(-30.0),
        soft_max=math.radians(30.0),
        subtype="ANGLE",
    )
    keying: EnumProperty(
        name="Keys",
        description="How many keys the rig's controls get",
        items=[
            ("ALL", "One a Frame", "As the motion has them"),
            ("FEW", "Few", "Smooth curves through as few keys as the errors below allow"),
        ],
    )
    angle_error: FloatProperty(
        name="Turned Off",
        description="How far a control may turn from where it should, where few keys are wanted",
        default=math.radians(0.5),
        min=math.radians(0.01),
        soft_max=math.radians(5.0),
        subtype="ANGLE",
    )
    distance_error: FloatProperty(
        name="Moved Off",
        description="How far a control may be from where it should, where few keys are wanted; about as far a planted "
        "foot may",
        default=0.005,
        min=0.0001,
        soft_max=0.1,
        subtype="DISTANCE",
        precision=4,
    )
    layer: EnumProperty(
        name="Into",
        description="What the motion becomes on the rig",
        items=[
            ("ACTION", "Action", "The rig's new action; the one that it has is kept in the file"),
            ("STRIP", "NLA Strip", "A strip over all that the rig does already, whose action goes into a strip below"),
        ],
    )


class PlacementOptions(BakeOptions):
    """Where in the scene a motion goes; shared by both importers and the panel."""

    target: EnumProperty(
        name="Onto",
        description="Who gets the motion",
        items=[
            ("NEW", "New Character", "An armature with a body of its own"),
            ("BAKE", "Rig", "A character that is there already: the new one, which is hidden, gives it its motion"),
        ],
    )
    rig: StringProperty(
        name="Rig",
        description="Armature of the character that gets the motion; several one a line. Empty for all that are "
        "selected: several people go onto as many rigs, both in the order of their names",
    )

    start_frame: IntProperty(
        name="Start Frame", description="Scene frame on which the character begins to move", default=1
    )
    fps: EnumProperty(
        name="Frame Rate",
        description="Whether the motion follows the scene's frame rate, or the scene the clip's",
        items=[
            ("SCENE", "Scene", "Keep the scene's frame rate and place keys by time, between frames where need be"),
            ("CLIP", "Clip", "Give the scene the clip's frame rate, range, size and camera; one key a frame"),
        ],
    )


def _people(_self: bpy.types.bpy_struct, _context: bpy.types.Context, typed: str) -> list[tuple[str, str]]:
    """What the field Person suggests; any other number may be typed."""
    known = [("MAIN", "the one most in view"), ("ALL", "everybody"), ("1", "the largest"), ("2", "the second largest")]
    return [choice for choice in known if typed.upper() in choice[0]] or known


# Blender 4.2 crashes when it quits where any property has a search function.
_SUGGESTED = {"search": _people} if bpy.app.version >= (4, 5, 0) else {}


class VideoOptions(PlacementOptions):
    """What to look for in a clip, and how; shared by the importer and the panel."""

    person: StringProperty(
        name="Person",
        description="Whom to bring in: MAIN for the one most in view, ALL, or a number from 1, the largest first",
        default="MAIN",
        **_SUGGESTED,
    )
    gender: EnumProperty(
        name="Body",
        description="Whose body the character has in full quality; a male or female one needs SMPL's file of it. The "
        "body that ships inside is one for all",
        items=[
            ("NEUTRAL", "Neutral", "The body that the networks know"),
            ("MALE", "Male", "SMPL's male body, in the shape nearest to the one that was seen"),
            ("FEMALE", "Female", "SMPL's female body, in the shape nearest to the one that was seen"),
        ],
    )
    quality: EnumProperty(
        name="Quality",
        description="How good the motion gets, and how long it takes",
        items=[
            ("AUTO", "Auto", "The best that this computer has the files and the card for"),
            (
                "FAST",
                "Fast",
                "As Draft, but with a smaller network to see people: faster, and rougher",
            ),
            ("DRAFT", "Draft", "The small networks that ship inside; runs everywhere"),
            ("FULL", "Full", "The research networks; needs their files"),
        ],
    )
    device: EnumProperty(
        name="Device",
        description="What computes the motion: the graphics card is many times faster",
        items=[
            ("AUTO", "Auto", "The graphics card where there is a fitting one"),
            ("CPU", "Processor", "Never use the graphics card"),
            ("CUDA", "NVIDIA Card", "Fail where there is no NVIDIA card"),
        ],
    )
    focal_length_mm: FloatProperty(
        name="Focal Length",
        description="Of the lens that filmed the clip, in millimetres as on 35 mm film; a phone's camera has 24 to "
        "28. 0 where you do not know: it is guessed",
        min=0.0,
    )
    camera: EnumProperty(
        name="Camera",
        description="How the clip was filmed",
        items=[
            ("AUTO", "Auto", "See from the background whether the camera stands, pans or moves"),
            ("STATIC", "Standing", "From a tripod, whatever moves in the background"),
            ("MOVING", "Moving", "Panned or carried, however little: never take it for standing still"),
        ],
    )
    actor_height: FloatProperty(
        name="Actor Height",
        description="Height of the first person imported; the whole world is scaled to it. 0 where you do not know: "
        "it is guessed from the picture",
        min=0.0,
        max=2.5,
        subtype="DISTANCE",
        precision=2,
    )
    static_anchor: BoolProperty(
        name="Anchor to the Picture",
        description="Where the camera stands still, hold people to where the picture shows them, so that long clips "
        "do not drift. Off, only the network's steps count",
        default=True,
    )
    refine: BoolProperty(
        name="Fit to the Picture",
        description="Bend the body until it lies on the joints that were seen (temporal SMPLify): it lies closer to "
        "the clip behind the camera and trembles less. Off, the import is a little faster",
        default=True,
    )
    smooth: FloatProperty(
        name="Smooth",
        description="Take out trembling: how long a movement must last to stay whole, in seconds. 0.1 is little, 0.3 "
        "softens steps; 0 leaves the motion as it is, and Smooth Motion can still do it after the import",
        default=0.0,
        min=0.0,
        soft_max=1.0,
        max=5.0,
    )
    clip_start: IntProperty(name="From", description="Frame of the clip to begin with", default=1, min=1)
    clip_end: IntProperty(name="To", description="Frame of the clip to end with; 0 goes to its end", min=0)


def option_names(options: type) -> list[str]:
    """Names of the properties of a class like VideoOptions, those of its bases included."""
    return [name for base in options.__mro__ for name in vars(base).get("__annotations__", {})]


def copy_options(source: bpy.types.bpy_struct, target: bpy.types.bpy_struct, options: type) -> None:
    """Give an operator the values that the panel shows; ``options`` is the class that both have as a base."""
    for name in option_names(options):
        setattr(target, name, getattr(source, name))


class WHAM_PG_settings(VideoOptions, bpy.types.PropertyGroup):
    """The panel's fields."""

    filepath: StringProperty(
        name="Clip", description="The video of the person whose motion you want", subtype="FILE_PATH"
    )
    show_contacts: BoolProperty(
        name="Show Contacts",
        description="Mark each toe and heel that is on the floor in the 3D view: left blue, right orange",
        default=True,
    )


class WHAM_PG_motion(bpy.types.PropertyGroup):
    """What is known of an imported motion: kept on its armature; its camera has the take and the size alone."""

    take: StringProperty(description="What was imported together has the same; empty on anything else")
    clip: StringProperty()
    size: IntVectorProperty(size=2, description="Of the clip's picture in pixels; on the camera only")
    clip_rate: FloatProperty(description="Frames per second of the clip")
    keyed_rate: FloatProperty(description="Frames per second of the scene that the keys are placed for")
    quality: StringProperty()
    weights: StringProperty(description="Names and versions of the networks used")
    people: IntProperty(description="How many were imported together")
    height: FloatProperty(subtype="DISTANCE", description="Of the body at rest")
    feet: FloatVectorProperty(size=12, description="Toes and heels at rest, in the armature's space")

    frames: IntProperty(description="Number of keys; this and the rest is measured after every edit")
    first_frame: FloatProperty()
    last_frame: FloatProperty()
    confidence: FloatProperty(description="Mean confidence of the keypoints where the person was seen, 0 to 1")
    contacts: IntProperty(description="How often a toe or heel comes down")
    sliding: FloatProperty(description="Metres a second that planted toes and heels move on the floor; -1 without any")
    hidden: StringProperty(description="Scene frames in which the person was not seen")


def register() -> None:
    """Hang the settings on scenes and motions on objects."""
    bpy.types.Object.wham_motion = PointerProperty(type=WHAM_PG_motion)
    bpy.types.Scene.wham = PointerProperty(type=WHAM_PG_settings)


def unregister() -> None:
    """Take both away."""
    del bpy.types.Scene.wham
    del bpy.types.Object.wham_motion
