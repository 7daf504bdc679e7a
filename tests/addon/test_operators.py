"""All operators, those of tomorrow too: none refuses without its reason, none leaves a script with a traceback."""

import threading

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.operators import explain
from wham_blender.addon.operators.edit import CharacterEdit
from wham_blender.addon.operators.setup import WHAM_OT_measure_storage


@pytest.fixture(autouse=True)
def _nothing_there(tmp_path, monkeypatch):
    """No worker, no weights, no jobs, no consent to go online."""
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path / "blender"))
    monkeypatch.chdir(tmp_path)


def operators():
    """Names and classes of all that are registered."""
    names = dir(bpy.ops.wham)
    return {name: bpy.types.Operator.bl_rna_get_subclass_py(f"WHAM_OT_{name}") for name in names}


def refusals():
    """What each operator that is refused just now says to it."""
    found = {}
    for name in operators():
        verb = getattr(bpy.ops.wham, name)
        if not verb.poll():
            with pytest.raises(RuntimeError) as caught:
                verb()
            found[name] = str(caught.value).partition("poll() ")[2].strip()
    return found


def test_every_refusal_says_why(monkeypatch):
    said: dict[str, set[str]] = {}

    def note():
        for name, reason in refusals().items():
            said.setdefault(name, set()).add(reason)

    note()  # nothing is there
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    note()
    monkeypatch.setattr(job_queue, "waiting", [Work()])  # a job waits
    monkeypatch.setattr(WHAM_OT_measure_storage, "_thread", threading.current_thread())
    note()
    for name, reasons in said.items():
        for reason in reasons:
            assert reason[:1].isupper(), (name, reason)
            assert "context is incorrect" not in reason, name
    can_refuse = {name for name, cls in operators().items() if any("poll" in vars(base) for base in cls.__mro__)}
    assert can_refuse == set(said)  # each was refused once, and nothing else ever is


def test_called_with_nothing_they_end_or_say_a_sentence():
    ended = set()
    for name in operators():
        verb = getattr(bpy.ops.wham, name)
        if not verb.poll():
            continue
        try:
            assert verb("EXEC_DEFAULT") == {"FINISHED"}
            ended.add(name)
        except RuntimeError as error:
            sentence = str(error).removeprefix("Error: ").strip()
            assert sentence[:1].isupper(), (name, sentence)
            assert sentence.endswith("."), (name, sentence)
            assert "Traceback" not in sentence, name
    assert {"refresh_jobs", "clean_jobs", "measure_storage"} <= ended
    assert not {"import_video", "import_motion", "import_job", "choose_weights", "find_weights"} & ended


def test_a_message_is_explained(capfd):
    sentence = "There is no clip at /clips/gone.mp4. Choose a video file."
    assert bpy.ops.wham.explain(sentence=sentence) == {"FINISHED"}
    assert "Info: The clip was moved or renamed" in capfd.readouterr().out
    drawn: list[tuple] = []
    popup = type("Popup", (), {"layout": Layout(drawn), "sentence": sentence, "code": ""})()
    explain.WHAM_OT_explain.draw(popup, bpy.context)
    shown = " ".join(call[-1] for call in drawn if call[0] == "label")
    assert shown.startswith(sentence)
    assert "Choose it again." in shown


def test_every_edit_has_a_redo_panel_and_an_undo_step():
    edits = {name for name, cls in operators().items() if issubclass(cls, CharacterEdit)}
    assert edits >= {"mark_contacts", "smooth_motion", "turn_motion", "move_motion", "set_actor_height", "set_floor"}
    assert edits >= {"trim_motion", "loop_motion"}
    for name in edits:
        assert {"REGISTER", "UNDO"} <= operators()[name].bl_options, name
