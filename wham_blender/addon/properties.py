"""What the user sets for an import, and the state of the one running: kept in the scene and the window manager."""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty


class PlacementOptions:
    """Where in the scene a motion goes; shared by both importers and the panel."""

    start_frame: IntProperty(name="Start Frame", description="Scene frame where the motion begins", default=1)
    fps: EnumProperty(
        name="Frame Rate",
        description="Whose frame rate the motion is keyed for",
        items=[
            ("SCENE", "Scene", "Keep the scene's frame rate and place keys by time, between frames where need be"),
            ("CLIP", "Clip", "Give the scene the clip's frame rate, range, size and camera; one key a frame"),
        ],
    )


class VideoOptions(PlacementOptions):
    """What to look for in a clip, and how; shared by the importer and the panel."""

    person: StringProperty(
        name="Person",
        description="MAIN, ALL, or a person's number in the clip from 1, the largest first",
        default="MAIN",
    )
    quality: EnumProperty(
        name="Quality",
        items=[
            ("AUTO", "Auto", "The best that this computer has the files and the card for"),
            ("DRAFT", "Draft", "The small networks that ship inside; runs everywhere"),
            ("FULL", "Full", "The research networks; needs their files"),
        ],
    )
    device: EnumProperty(
        name="Device",
        items=[
            ("AUTO", "Auto", "The graphics card where there is a fitting one"),
            ("CPU", "Processor", "Never use the graphics card"),
            ("CUDA", "NVIDIA Card", "Fail where there is no NVIDIA card"),
        ],
    )
    focal_length_mm: FloatProperty(
        name="Focal Length",
        description="Of the clip's lens in millimetres, as on 35 mm film; 0 where it is not known",
        min=0.0,
    )
    clip_start: IntProperty(name="From", description="First frame of the clip to look at", default=1, min=1)
    clip_end: IntProperty(name="To", description="Last frame of the clip to look at; 0 is the clip's end", min=0)


def copy_options(source: bpy.types.bpy_struct, target: bpy.types.bpy_struct, options: type) -> None:
    """Give an operator the values that the panel shows; ``options`` is the class that both have as a base."""
    for base in options.__mro__:
        for name in vars(base).get("__annotations__", {}):
            setattr(target, name, getattr(source, name))


class WHAM_PG_settings(VideoOptions, bpy.types.PropertyGroup):
    """The panel's fields."""

    filepath: StringProperty(name="Clip", description="The video to import", subtype="FILE_PATH")


class WHAM_PG_job(bpy.types.PropertyGroup):
    """What the panel shows of the running job, and of the last one's end."""

    running: BoolProperty()
    cancel: BoolProperty(description="The user asked to cancel; the running operator sees it")
    text: StringProperty()
    fraction: FloatProperty(min=0.0, max=1.0)
    people: StringProperty(description="Who was found in the clip")
    error: StringProperty()
    log: StringProperty(description="The log file of the job that failed")


def register() -> None:
    """Hang the settings on scenes and the job's state on the window manager."""
    bpy.types.Scene.wham = PointerProperty(type=WHAM_PG_settings)
    bpy.types.WindowManager.wham_job = PointerProperty(type=WHAM_PG_job)


def unregister() -> None:
    """Take both away."""
    del bpy.types.WindowManager.wham_job
    del bpy.types.Scene.wham
