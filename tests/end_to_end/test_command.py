"""The command line: a real clip in, a motion out; resumed, cancelled, refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wham_blender import motion, protocol, weights
from wham_blender.motion import Motion
from wham_blender.pipeline import __main__ as worker
from wham_blender.pipeline.stages import run
from wham_blender.skeleton import COCO_NAMES, JOINT_NAMES

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "wham_blender" / "launch.py"
CLIP = ROOT / "tests" / "clips" / "balance_cam01.mp4"
_PAIRS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
LIMBS = [f"{side}_{name}" for name in _PAIRS for side in ("left", "right")]
WAIT = 600  # seconds after which a process hangs


def start(*arguments: str | Path, folder: Path, **environ: str) -> subprocess.Popen[str]:
    """The worker as a process of its own, its caches in a folder of the test's."""
    return subprocess.Popen(
        [sys.executable, "-m", "wham_blender.pipeline", *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(folder), "LOCALAPPDATA": str(folder)} | environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, list[protocol.Message], str]:
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, [protocol.decode(line) for line in out.splitlines()], err


@pytest.fixture(scope="module")
def balance(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[protocol.Message]]:
    """A folder with balance.npz and its cache, and what the worker said."""
    folder = tmp_path_factory.mktemp("balance")
    code, said, errors = finish(start(CLIP, "-o", folder / "balance.npz", "--json", folder=folder))
    assert code == 0, errors
    return folder, said


def projected(person: Motion, names: list[str]) -> np.ndarray:
    """Where the camera sees the named joints, (F, N, 2) pixels."""
    joints = person.joints()[:, [JOINT_NAMES.index(name) for name in names]]
    seen = np.einsum("fij,fnj->fni", person.camera_R, joints) + person.camera_t[:, None]
    assert (seen[..., 2] > 0).all()
    pixels = seen @ person.camera_K.T
    return pixels[..., :2] / pixels[..., 2:]


def test_the_worker_speaks_the_protocol(balance: tuple[Path, list[protocol.Message]]) -> None:
    folder, said = balance
    assert said[-1] == protocol.Done(str(folder / "balance.npz"))
    assert isinstance(said[0], protocol.Environment)
    assert "torch 2." in said[0].text
    (people,) = [message.people for message in said if isinstance(message, protocol.People)]
    assert [person.id for person in people] == [1, 2]
    assert {(person.first_frame, person.last_frame) for person in people} == {(1, 100)}
    progress = [message for message in said if isinstance(message, protocol.Progress)]
    fractions = [message.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    stages = list(dict.fromkeys(message.stage for message in progress))
    assert stages == ["detect", "tracks", "camera", "features", "wham", "placement", "smplify", "hands", "write"]


def test_the_motion_covers_the_clip(balance: tuple[Path, list[protocol.Message]]) -> None:
    (person,) = motion.load(balance[0] / "balance.npz")
    assert person.frame.tolist() == list(range(1, 101))
    assert np.allclose(person.time, np.arange(100) / 60, atol=1e-3)
    assert person.mocap_framerate == pytest.approx(60)
    assert person.visible.all()
    assert person.meta["clip"] == CLIP.name
    assert person.meta["size"] == [1080, 1920]
    assert {role: file["sha256"] for role, file in person.meta["weights"].items()} == {
        role: file.sha256 for role, file in weights.manifest().items() if role != "landmarks_fast"
    }
    assert set(person.meta["timings"]) == {
        "detect",
        "tracks",
        "camera",
        "features",
        "wham",
        "placement",
        "smplify",
        "hands",
    }


def test_the_camera_sees_the_body_where_the_clip_shows_the_man(balance: tuple[Path, list[protocol.Message]]) -> None:
    (person,) = motion.load(balance[0] / "balance.npz")
    shown = person.keypoints[:, [COCO_NAMES.index(name) for name in LIMBS], :2]
    off = np.linalg.norm(projected(person, LIMBS) - shown, axis=-1)
    height = np.ptp(shown[..., 1], axis=1).mean()
    assert np.median(off) < 0.06 * height
    assert np.percentile(off, 95) < 0.2 * height


def test_a_second_run_resumes_by_itself(balance: tuple[Path, list[protocol.Message]]) -> None:
    folder, _ = balance
    code, said, errors = finish(start(CLIP, "-o", folder / "again.npz", "--json", folder=folder))
    assert code == 0, errors
    logged = [message.text for message in said if isinstance(message, protocol.Log)]
    kept = [text.split(":")[0] for text in logged if "kept" in text]
    assert kept == ["detect", "tracks", "camera", "features", "wham", "placement", "smplify", "hands"]
    # No stage was begun: nothing was decoded again.
    assert all(message.done == message.total for message in said if isinstance(message, protocol.Progress))
    (first,), (again,) = motion.load(folder / "balance.npz"), motion.load(folder / "again.npz")
    assert (first.poses == again.poses).all()


def test_without_json_a_person_can_read_it(balance: tuple[Path, list[protocol.Message]]) -> None:
    folder, _ = balance
    process = start(CLIP, "-o", folder / "read.npz", folder=folder)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0
    assert out == f"Wrote {folder / 'read.npz'}\n"
    assert "100 %" in err
    assert "Person 2: frames 1 to 100" in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_half_file(number: signal.Signals, tmp_path: Path) -> None:
    out, job = tmp_path / "out", tmp_path / "job"
    process = start(CLIP, "-o", out / "motion.npz", "--resume", job, "--json", folder=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        message = protocol.decode(line)
        if isinstance(message, protocol.Progress) and message.done > 2:
            break
    process.send_signal(number)
    code, said, errors = finish(process)
    assert code == 130
    assert "Traceback" not in errors
    assert isinstance(said[-1], protocol.Failed)
    assert said[-1].text.startswith("Cancelled: balance_cam01.mp4 was not imported.")
    assert list(out.iterdir()) == list(job.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_ends_a_library_s_long_call() -> None:
    # One call into C that would take hours and lets no Python code of its thread run.
    code = """
import hashlib, os, signal, threading
from wham_blender.pipeline import __main__ as worker

def kill():
    os.kill(os.getpid(), signal.SIGTERM)

worker._handle_cancel_signals(lambda: print("last words"))
threading.Timer(1, kill).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=WAIT)
    assert (ended.returncode, ended.stdout.splitlines()) == (130, ["last words"])


@pytest.mark.parametrize("fault", ["ImportError('No module named torch')", "OSError('libgomp.so.1: no such file')"])
def test_a_broken_python_is_a_sentence(fault: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(f"raise {fault}")
    process = start(CLIP, "-o", tmp_path / "m.npz", "--json", folder=tmp_path, PYTHONPATH=str(tmp_path))
    code, said, _errors = finish(process)
    assert code == 1
    reason = fault.split("'")[1]
    assert said == [
        protocol.Failed(
            f"The worker's Python is not whole ({reason}). Click Install Worker in the preferences.",
            code="worker-incomplete",
        )
    ]


def test_the_tracker_s_library_stays_offline_and_in_the_cache(tmp_path: Path) -> None:
    code = (
        "import wham_blender.pipeline.stages.run, ultralytics.utils as u;"
        "print(u.ONLINE, u.AUTOINSTALL, u.USER_CONFIG_DIR)"
    )
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "YOLO_OFFLINE": "false", "YOLO_CONFIG_DIR": "/elsewhere"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert ended.stdout == f"False False {tmp_path / 'wham_blender' / 'Ultralytics'}\n", ended.stderr


def test_a_refusal_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    code, said, errors = finish(start(tmp_path / "gone.mp4", "-o", tmp_path / "m.npz", "--json", folder=tmp_path))
    assert code == 1
    assert said[1:] == [
        protocol.Failed(f"There is no clip gone.mp4 in {tmp_path}. Check the path.", code="clip-not-found")
    ]
    assert errors == ""
    assert not (tmp_path / "m.npz").exists()
    assert not (tmp_path / "wham_blender" / "jobs").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--person", "SOMEBODY"), ("--person", "0"), ("--person", "9" * 5000), ("--start", "first"), ("--end", "9" * 30),
     ("--focal-length", "-1"), ("--focal-length", "inf"), ("--focal-length", "nan"), ("--focal-length", "1e9"),
     ("--actor-height", "nan"), ("--actor-height", "-inf"), ("--actor-height", "1e-9"), ("--smooth", "nan"),
     ("--smooth", "inf"), ("--quality", "\udce9")],
)  # fmt: skip
def test_a_wrong_option_is_refused_at_once(
    option: str, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(CLIP), "-o", str(tmp_path / "m.npz"), option, value]
    for messages in (False, True):
        with pytest.raises(SystemExit) as ended:
            worker.main([*arguments, *["--json"] * messages])
        assert ended.value.code == 2
        out, err = capfd.readouterr()
        assert option in err
        said = [protocol.decode(line) for line in out.splitlines()]
        assert len(said) == messages
    assert isinstance(said[0], protocol.Failed)
    assert said[0].text.startswith(f"The worker refused an option: argument {option}")
    assert said[0].code == "option-invalid"


def test_a_null_character_in_a_path_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["a\0.mp4", "-o", "m.npz"],
        ["a.mp4", "-o", "m\0.npz"],
        ["a.mp4", "-o", "m.npz", "--resume", "\0"],
    ):
        with pytest.raises(SystemExit):
            worker.main([*arguments, "--json"])
        (message,) = [protocol.decode(line) for line in capfd.readouterr().out.splitlines()]
        assert isinstance(message, protocol.Failed)
        assert "a path holds a null character" in message.text


NO_MEMORY = ("Memory ran out while balance_cam01.mp4 was imported. Close", "memory-low")
FAULTS = [
    (MemoryError(), NO_MEMORY),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), NO_MEMORY),
    (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"), NO_MEMORY),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
        NO_MEMORY,
    ),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), NO_MEMORY),
    (ImportError("libtorch_cpu.so: failed to map segment from shared object"), NO_MEMORY),
    (OSError(12, "Cannot allocate memory"), NO_MEMORY),
    (ArithmeticError("one\ntwo"), ("balance_cam01.mp4 could not be imported: one. The log says", "unexpected")),
    (KeyError(), ("balance_cam01.mp4 could not be imported: KeyError. The log", "unexpected")),
    (
        ValueError("caf\udce9 " + "x" * 100_000),
        ("balance_cam01.mp4 could not be imported: caf? xxx", "unexpected"),
    ),
]


@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=lambda value: type(value).__name__)
def test_what_nobody_expects_is_a_sentence(
    fault: Exception, says: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def failing(*_: object) -> None:
        raise fault

    monkeypatch.setattr(run, "run", failing)
    monkeypatch.setattr(worker, "_handle_cancel_signals", lambda before_exit: None)  # those of this process stay
    assert worker.main([str(CLIP), "-o", str(tmp_path / "m.npz"), "--json"]) == 1
    out, err = capfd.readouterr()
    failed = protocol.decode(out.splitlines()[-1])
    sentence, expected = says
    assert isinstance(failed, protocol.Failed)
    assert failed.text.startswith(sentence)
    assert len(failed.text) < 500
    assert failed.code == expected
    assert "Traceback" in err


@pytest.mark.parametrize("clip", [".", "a_####.png"])
def test_a_folder_and_a_pattern_without_pictures_are_a_sentence(clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    folder.mkdir()
    code, said, errors = finish(start(folder / clip, "-o", tmp_path / "m.npz", "--json", folder=tmp_path))
    assert (code, errors) == (1, "")
    assert isinstance(said[-1], protocol.Failed)
    assert said[-1].code == "sequence-not-found"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that a process runs in")
def test_a_folder_that_was_deleted_is_named_as_the_cause(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code = "import os, runpy, sys; os.rmdir(os.getcwd()); sys.argv[0] = sys.argv[1]; del sys.argv[1]\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [
        str(LAUNCHER),
        str(LAUNCHER),
        "wham_blender.pipeline",
        str(CLIP),
        "-o",
        str(tmp_path / "m.npz"),
        "--json",
    ]
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments[1:]], cwd=folder, capture_output=True, text=True, timeout=WAIT
    )
    (message,) = [protocol.decode(line) for line in ended.stdout.splitlines()]
    assert isinstance(message, protocol.Failed)
    assert message.text.startswith("The folder in which the worker was started was deleted. Start")
    assert message.code == "working-folder-deleted"
    assert ended.stderr == ""


@pytest.mark.parametrize("document", ["README.md", "docs/scripting.md"])
def test_the_documented_command_runs_nothing_that_lies_beside_the_clip(document: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"^python .*wham_blender\.pipeline .*$", (ROOT / document).read_text("utf-8"), re.MULTILINE)
    python, *arguments = line.replace("PATH", str(ROOT)).split()
    for name in (
        "contextlib",
        "runpy",
        "numpy",
        "json",
        "argparse",
        "torch",
        "wham_blender",
        "sitecustomize",
        "usercustomize",
    ):
        (tmp_path / f"{name}.py").write_text(f"open('{name} was run', 'w').close()\n")
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert python == "python"
    assert [path.name for path in tmp_path.glob("* was run")] == []
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"There is no clip walk.mp4 in {Path('walk.mp4').parent}. Check the path.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    process = start(tmp_path / "gone.mp4", "-o", tmp_path / "m.npz", "--json", folder=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(WAIT) == 1
