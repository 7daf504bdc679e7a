"""Every registered operator: a failing poll() gives its reason, and scripts get a sentence instead of a traceback."""

import threading

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.operators import explain
from wham_blender.addon.operators.edit import CharacterEdit
from wham_blender.addon.operators.setup import WHAM_OT_measure_storage


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path, monkeypatch):
    """No worker, no weights, no jobs, no consent to go online."""
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path / "blender"))
    monkeypatch.chdir(tmp_path)


def operators():
    """Names and classes of all registered operators, without macros: these have the poll() of their parts."""
    found = {name: bpy.types.Operator.bl_rna_get_subclass_py(f"WHAM_OT_{name}") for name in dir(bpy.ops.wham)}
    return {name: cls for name, cls in found.items() if cls is not None}


def refusals():
    """The reason of each operator whose poll() fails now."""
    reasons = {}
    for name in operators():
        operator = getattr(bpy.ops.wham, name)
        if not operator.poll():
            with pytest.raises(RuntimeError) as caught:
                operator()
            reasons[name] = str(caught.value).partition("poll() ")[2].strip()
    return reasons


def test_every_failing_poll_gives_a_reason(monkeypatch):
    reasons_by_name: dict[str, set[str]] = {}

    def collect():
        for name, reason in refusals().items():
            reasons_by_name.setdefault(name, set()).add(reason)

    collect()  # empty scene, nothing installed
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    collect()
    monkeypatch.setattr(job_queue, "waiting", [Work()])  # a queued job
    monkeypatch.setattr(WHAM_OT_measure_storage, "_thread", threading.current_thread())
    collect()
    for name, reasons in reasons_by_name.items():
        for reason in reasons:
            assert reason[:1].isupper(), (name, reason)
            assert "context is incorrect" not in reason, name
    have_poll = {name for name, cls in operators().items() if any("poll" in vars(base) for base in cls.__mro__)}
    assert have_poll == set(reasons_by_name)  # every operator that has a poll() failed at least once


def test_operators_without_arguments_finish_or_raise_a_sentence():
    finished = set()
    for name in operators():
        operator = getattr(bpy.ops.wham, name)
        if not operator.poll():
            continue
        try:
            assert operator("EXEC_DEFAULT") == {"FINISHED"}
            finished.add(name)
        except RuntimeError as error:
            sentence = str(error).removeprefix("Error: ").strip()
            assert sentence[:1].isupper(), (name, sentence)
            assert sentence.endswith("."), (name, sentence)
            assert "Traceback" not in sentence, name
    assert {"refresh_jobs", "clean_jobs", "measure_storage"} <= finished
    assert not {"import_video", "import_motion", "import_job", "choose_weights", "find_weights"} & finished


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
    for name in edits - {"process_again"}:  # it starts a job and changes nothing yet
        assert {"REGISTER", "UNDO"} <= operators()[name].bl_options, name
