"""Operators on corrections that need the worker: who is who, drawn boxes; and Process Again, which applies them."""

import math

import bpy
from bpy.props import BoolProperty, FloatVectorProperty, IntProperty

from ... import corrections
from ...corrections import Box, Continued
from ...errors import CodedError
from ...files import replace_text
from ..jobs.import_job import is_active, jobs
from ..scene import character, recorded_corrections
from ..scene.character import CharacterError
from ..settings import jobs_folder
from ..translations import report
from .edit import CharacterEdit
from .jobs import rerun
from .view_clip import ClipView, film_view

_BOX_SECONDS = 2.0  # before and after, in which a drawn box is used unless frames are given; set by hand


def _place(armature: bpy.types.Object, first: float, last: float) -> tuple[int, int, corrections.Place]:
    """Frames of the clip and a place of the person. Raises CharacterError if the character does not know them."""
    seen = recorded_corrections.seen_range(armature, first, last)
    if seen is None:
        raise CharacterError(
            f"{armature.name} was imported without its clip's frames, so the clip cannot be corrected by it. Import "
            "the clip again with this version.",
            code="clip-frames-unknown",
        )
    return seen


class WHAM_OT_continue_person(CharacterEdit, bpy.types.Operator):
    """From the current frame on, the active character is the person that the other selected character shows"""

    bl_idname = "wham.continue_person"
    bl_label = "Continue with Other Person"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Record it; Process Again applies it."""
        others = {character.owner(obj) for obj in context.selected_objects} - {armature, None}
        if len(others) != 1:
            raise CharacterError(
                f"Not one but {len(others)} other characters are selected. Click the one that shows the person from "
                "this frame on, then, with Shift, the one who is to go on.",
                code="select-other-person",
            )
        (other,) = others
        frame = context.scene.frame_current
        first, _, goes_on = _place(other, frame, frame)
        before = recorded_corrections.place_before(armature, first)
        if before is None:
            raise CharacterError(
                f"{armature.name} is not seen before frame {frame}, so there is nobody to go on. Go to a later frame.",
                code="nobody-before",
            )
        goes_on = recorded_corrections.place_from(other, first) or goes_on
        recorded_corrections.add(armature, Continued(before, goes_on, first))
        return f"{armature.name} goes on as {other.name} from frame {frame} on, once you use Process Again"


class WHAM_OT_add_box(CharacterEdit, bpy.types.Operator):
    """Look for the person in a box of the picture at the current frame, where nobody or somebody else was found"""

    bl_idname = "wham.add_box"
    bl_label = "Use Box"

    box: FloatVectorProperty(
        name="Box",
        description="Left, top, right and bottom in parts of the picture's sides. If all are 0, the render region is "
        "used, as Ctrl+B draws it in the view through the clip's camera",
        size=4,
        default=(0.0, 0.0, 0.0, 0.0),
        min=-1.0,
        max=2.0,
        options={"SKIP_SAVE"},
    )
    clip_first: IntProperty(
        name="First Frame", description="First frame of the clip in which it is used; 0: automatic", min=0
    )
    clip_last: IntProperty(
        name="Last Frame", description="Last frame of the clip in which it is used; 0: automatic", min=0
    )
    new_person: BoolProperty(
        name="Somebody Else",
        description="The box shows a person who is not the active character, and whom nobody has found",
    )

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Record the box; Process Again applies it."""
        scene, record = context.scene, armature.wham_motion
        frame, _, place = _place(armature, scene.frame_current, scene.frame_current)
        if beyond := scene.frame_current - min(max(scene.frame_current, record.first_frame), record.last_frame):
            frame += round(beyond * record.clip_rate / record.keyed_rate)
        reach = math.ceil(_BOX_SECONDS * record.clip_rate)
        corners = tuple(self.box) if any(self.box) else _render_region(armature, scene)
        ends = self.clip_first or max(1, frame - reach), self.clip_last or frame + reach
        x1, y1, x2, y2 = corners
        box = Box(max(1, frame), *ends, x1, y1, x2, y2, None if self.new_person else place)
        recorded_corrections.add(armature, box)
        scene.render.use_border = scene.render.use_border and any(self.box)
        return f"The box is used in frames {ends[0]} to {ends[1]} of the clip, once you use Process Again"


def _render_region(armature: bpy.types.Object, scene: bpy.types.Scene) -> tuple[float, ...]:
    """The scene's render region in parts of the film's sides, from the top left. Raises CharacterError without one."""
    cameras = [obj for obj in character.imported_with(armature, scene) if obj.type == "CAMERA"]
    render = scene.render
    if not render.use_border or not cameras:
        raise CharacterError(
            "No box is drawn. Look through the clip's camera, draw a box around the person with View > View Regions > "
            "Render Region (Ctrl+B), then use it.",
            code="no-box-drawn",
        )
    width, height = cameras[0].wham_motion.size
    ratio = width / height * render.resolution_y * render.pixel_aspect_y / (render.resolution_x * render.pixel_aspect_x)
    share = min(ratio, 1.0), min(1 / ratio, 1.0)  # of the camera's frame that the film fills, see scene/camera.py
    corners = (
        (render.border_min_x, 1 - render.border_max_y),
        (render.border_max_x, 1 - render.border_min_y),
    )
    return tuple((value - 0.5) / size + 0.5 for corner in corners for value, size in zip(corner, share, strict=True))


class WHAM_OT_draw_box(ClipView, bpy.types.Operator):
    """Draw a box around the person in the view through the clip's camera, where the detector has failed"""

    bl_idname = "wham.draw_box"
    bl_label = "Draw Box"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Wait for the box in the view with the film: the panel may be beside another one."""
        area, region = film_view(context)
        with context.temp_override(area=area, region=region):
            bpy.ops.wham.draw_region("INVOKE_DEFAULT")
        return {"FINISHED"}


class WHAM_OT_draw_region(bpy.types.Macro):
    """Draw a box around the person in the view through the clip's camera, where the detector has failed"""

    bl_idname = "wham.draw_region"
    bl_label = "Draw Box"
    bl_options = {"UNDO", "INTERNAL"}


class WHAM_OT_remove_correction(CharacterEdit, bpy.types.Operator):
    """Forget a correction. The motion stays as it is until the clip is processed again"""

    bl_idname = "wham.remove_correction"
    bl_label = "Remove Correction"

    number: IntProperty(name="Number", description="Which one, from 0, as the panel lists them", min=0)

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Remove it from all characters of the clip."""
        kept = recorded_corrections.without(recorded_corrections.document(armature), self.number)
        recorded_corrections.store(armature, kept)
        return f"{len(kept)} corrections are left"


class WHAM_OT_clear_corrections(CharacterEdit, bpy.types.Operator):
    """Forget all corrections of the clip. The motion stays as it is until the clip is processed again"""

    bl_idname = "wham.clear_corrections"
    bl_label = "Clear Corrections"

    def edit(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        """Clear them on all characters of the clip."""
        recorded_corrections.store(armature, corrections.NO_CORRECTIONS)
        return "No corrections are left"


class WHAM_OT_process_again(CharacterEdit, bpy.types.Operator):
    """Run the character's job again with its corrections. The clip is not searched for people again"""

    bl_idname = "wham.process_again"
    bl_label = "Process Again"
    bl_options = {"REGISTER"}  # it changes nothing in the scene until the job is done

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the corrections to the job's folder and run the job."""
        armature = character.active(context)
        record = jobs.find(armature.wham_motion.job) if armature.wham_motion.job else None
        try:
            if record is None:
                raise CharacterError(
                    f"The job that {armature.name} was imported from is not in {jobs_folder()}: it was discarded, or "
                    "the motion came from a file. Import the clip again.",
                    code="job-of-character-gone",
                )
            if is_active(record):
                raise CharacterError(
                    f"{record.title} is being imported already. Wait for its end, or cancel it first.",
                    code="job-running",
                )
            document = recorded_corrections.document(armature)
            replace_text(record.corrections, document.text())
        except OSError as error:
            assert record is not None
            report(self, {"ERROR"}, f"{record.folder} cannot be written to: {error.strerror}. Make space there.")
            return {"CANCELLED"}
        except CodedError as error:
            report(self, {"ERROR"}, str(error))
            return {"CANCELLED"}
        number = armature.wham_motion.person
        return rerun(self, record, {} if record.person == "ALL" or not number else {"person": str(number)})


CLASSES = (
    WHAM_OT_continue_person,
    WHAM_OT_add_box,
    WHAM_OT_draw_box,
    WHAM_OT_draw_region,
    WHAM_OT_remove_correction,
    WHAM_OT_clear_corrections,
    WHAM_OT_process_again,
)


def register() -> None:
    """Define what follows Draw Box: Blender's own Render Region, then Use Box."""
    WHAM_OT_draw_region.define("VIEW3D_OT_render_border")
    WHAM_OT_draw_region.define("WHAM_OT_add_box")
