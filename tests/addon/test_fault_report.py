"""What is copied for a report of a fault: all that helps, and nobody's names and folders."""

from pathlib import Path, PureWindowsPath

import bpy
import pytest

from wham_blender.addon.jobs import error_report, job_record


def test_a_report_names_no_folders_and_no_people(fake_worker, clip, jobs, capfd):
    fake_worker(
        "say(protocol.Environment('Python 3.11, torch 2.14.1; NVIDIA H100'))\n"
        "print('File \"/home/ann/My Clients/secret film/x.py\", line 1', arguments[0], os.path.expanduser('~'))\n"
        "say(protocol.Failed('No person found in some clip.mp4.'))"
    )
    with pytest.raises(RuntimeError):
        bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    text = error_report.of_job(record, f"Blender {bpy.app.version_string}", None)
    for words in (
        bpy.app.version_string, "torch 2.14.1; NVIDIA H100", "quality=AUTO", "No person found in some clip.mp4.",
        'File "<folder>/x.py", line 1 <folder>/some clip.mp4', "Import Video as Motion 0.",
    ):  # fmt: skip
        assert words in text
    for words in ("ann", "Clients", "secret", str(Path.home()), str(clip.parent)):
        assert words not in text
    capfd.readouterr()
    assert bpy.ops.wham.copy_report(job=record.name) == {"FINISHED"}
    assert "Error: No person found in some clip.mp4." in capfd.readouterr().out  # here is no clipboard


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (r"C:\Users\Ann Lee\AppData\x.py failed", "<folder>/x.py failed"),
        (r'File "C:\Work Drive\Client\run.py", line 3', 'File "<folder>/run.py", line 3'),
        (r"at D:\client\film.mp4: gone", "at <folder>/film.mp4: gone"),
        ("see //server/client/film.mov.", "see <folder>/film.mov."),
        ("Ann Lee on 3/4 of the frames, and/or 60 km/h", "<user> on 3/4 of the frames, and/or 60 km/h"),
        ("https://pytorch.org/docs is fine", "https://pytorch.org/docs is fine"),
    ],
)
def test_what_is_private_is_taken_out(text, clean, monkeypatch):
    monkeypatch.setattr(error_report.Path, "home", lambda: PureWindowsPath(r"C:\Users\Ann Lee"))
    assert error_report.scrub(text) == clean
