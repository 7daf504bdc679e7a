"""The worker's own Python: made, found, damaged, repaired, removed. An index on this machine has tiny wheels for it."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from wham_blender.addon.worker import installer, location, pip, process, python_environment, pytorch
from wham_blender.addon.worker.process import Job
from wham_blender.addon.worker.python_environment import WorkerError
from wham_blender.protocol import Failed, decode

BASE = Path(sys.executable)
PACKAGE = Path(python_environment.__file__).parents[2]
pytestmark = pytest.mark.usefixtures("data")
posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a POSIX script")


def module(name):
    return next(python_environment.worker_folder().glob(f"[Ll]ib/**/site-packages/{name}.py"))


def test_made_found_updated_and_removed(index, packages, data):
    with pytest.raises(WorkerError, match="not installed yet"):
        python_environment.find()
    packages(index.add("tiny"), index.add("small"))
    python = installer.install(BASE, "AUTO")
    assert python_environment.find() == python
    assert python.is_relative_to(data / "worker")
    assert sorted(index.fetched) == ["small", "tiny"]
    assert not python_environment.downloads_folder().exists()
    assert "Check Worker tells" in python_environment.state().sentence
    packages(index.add("tiny"), index.add("small", "2.0"))
    with pytest.raises(WorkerError, match="of another version"):
        python_environment.find()
    installer.install(BASE, "AUTO")
    assert "2.0" in module("small").read_text("utf-8")
    assert sorted(index.fetched) == ["small", "small", "tiny"], "what fits is not fetched again"
    installer.remove()
    assert not python_environment.worker_folder().exists()


def test_a_killed_installation_goes_on_with_what_it_has(index, packages, tmp_path, monkeypatch):
    index.hangs = "small"
    copy = tmp_path / "extension/wham_blender"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.mp4"))
    lock = [index.add("tiny"), index.add("small", size=1 << 20)]
    packages(*lock)
    shutil.copy(python_environment.PIPELINE / "requirements.txt", copy / "pipeline")
    monkeypatch.setattr(process, "_PACKAGE", copy)
    # Two steps, as with PyTorch: the first download must be whole when the second hangs.
    running = Job(python_environment.install_command(BASE, "CPU"), tmp_path / "install.log")
    until(lambda: (running.poll() and False) or "small" in index.fetched, running)
    with pytest.raises(WorkerError, match="is being installed"):
        python_environment.find()
    running.stop()
    index.hangs, index.fetched[:] = "", []
    with pytest.raises(WorkerError, match="was interrupted"):
        python_environment.find()
    packages(*lock, build="cpu")
    (python_environment.PIPELINE / "requirements-cpu.txt").write_text("".join(lock), "utf-8")
    python_environment.fingerprint.cache_clear()
    installer.install(BASE, "AUTO")
    assert index.fetched == ["small"]
    assert python_environment.find().exists()


def until(condition, running, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, running.log.read_text("utf-8")
        time.sleep(0.05)


@pytest.mark.parametrize("repair", [False, True])
def test_a_damaged_worker_is_made_whole_again(index, packages, repair):
    packages(index.add("tiny"), index.add("small"), index.add("whole"))
    installer.install(BASE, "AUTO")
    right = module("small").read_bytes()
    module("tiny").unlink()
    module("small").write_bytes(right.replace(b"1.0", b"6.6"))  # of the same size
    index.fetched.clear()
    installer.install(BASE, "AUTO", repair=repair)
    assert module("tiny").exists()
    assert index.fetched == (["tiny", "small"] if repair else ["tiny"])
    assert (module("small").read_bytes() == right) == repair


@posix
def test_an_updated_blender_takes_its_python_away(index, packages, tmp_path):
    packages(index.add("tiny"))
    installer.install(BASE, "AUTO")
    settings = python_environment.worker_folder() / "pyvenv.cfg"
    home = json.loads((python_environment.worker_folder() / python_environment.MARKER).read_text("utf-8"))["home"]
    gone = str(tmp_path / "blender-4.2/python/bin")
    settings.write_text(settings.read_text("utf-8").replace(home, gone), "utf-8")
    marker = python_environment.worker_folder() / python_environment.MARKER
    marker.write_text(marker.read_text("utf-8").replace(home, gone), "utf-8")
    for link in (python_environment.worker_folder() / "bin").glob("python*"):
        link.unlink()
        link.symlink_to(Path(gone, link.name))
    with pytest.raises(WorkerError, match=r"is gone, as after an update of Blender.*Repair Worker"):
        python_environment.find()
    index.fetched.clear()
    assert installer.install(BASE, "AUTO", repair=True) == python_environment.find()
    assert index.fetched == [], "the packages are still good"


def test_another_file_than_the_locked_one_is_refused(index, packages):
    lock = index.add("tiny")
    wrong = index.add("tiny", size=2000)
    packages(lock)
    with pytest.raises(WorkerError, match="not the one that this version of the add-on was made with"):
        installer.install(BASE, "AUTO")
    assert not python_environment.downloads_folder().exists(), "the wrong file must not come out of the cache"
    with pytest.raises(WorkerError, match="was interrupted"):
        python_environment.find()
    packages(wrong)
    installer.install(BASE, "AUTO")


def test_what_is_not_locked_is_refused(index, packages):
    index.add("stranger")
    packages(index.add("tiny"), "stranger==1.0\n")
    with pytest.raises(WorkerError):
        installer.install(BASE, "AUTO")
    assert not list(python_environment.worker_folder().glob("**/stranger.py"))


@pytest.mark.parametrize("locked", [False, True])
def test_pytorch_from_its_own_index(index, packages, locked, capsys):
    lock = [index.add("torch"), index.add("tiny")]
    own = index.add("torch", "1.0+cu126", "whl/cu126")
    packages(*lock, build="cu126")
    if locked:
        (python_environment.PIPELINE / "requirements-cu126.txt").write_text(own + lock[1], "utf-8")
    installer.install(BASE, "AUTO")
    fractions = [
        said["fraction"] for line in capsys.readouterr().out.splitlines() if "fraction" in (said := json.loads(line))
    ]
    assert fractions == sorted(fractions), "of two lists, as of one"
    assert "+cu126" in module("torch").read_text("utf-8")
    packages(*lock)
    installer.install(BASE, "AUTO")
    assert "+cu126" not in module("torch").read_text("utf-8"), "another build is another environment"


def test_without_pytorchs_index_the_larger_build_is_taken_only_on_demand(index, packages):
    packages(index.add("torch"), index.add("tiny"), build="cpu")
    with pytest.raises(WorkerError, match=r"no worker packages.*0\.0 GB to download, much more than was announced"):
        installer.install(BASE, "CPU")
    assert index.fetched == ["tiny"]
    installer.install(BASE, "CPU", larger=True)
    assert index.fetched == ["tiny", "torch"]
    assert module("torch").exists()
    packages(index.add("torch"), build="cu126")
    with pytest.raises(WorkerError, match="no worker packages"):
        installer.install(BASE, "CUDA")


def test_packages_of_full_quality_come_when_they_are_asked_for_and_stay(index, packages, monkeypatch):
    lock = [index.add("tiny"), index.add("torch"), index.add("many"), index.add("more", place="simple")]
    index.add("torch", "1.0+cpu", "whl/cpu")
    packages(*lock, build="cpu")
    sizes = {"torch": 3000, "others": 200, "full": 90}
    monkeypatch.setattr(python_environment, "download_sizes", lambda: sizes)
    installer.install(BASE, "CPU")
    assert sorted(index.fetched) == ["tiny", "torch"]
    assert python_environment.lacks_full_packages()
    installer.install(BASE, "CPU", full=True)
    assert sorted(index.fetched) == ["many", "more", "tiny", "torch"]
    assert not python_environment.lacks_full_packages()
    packages(*lock[:3], index.add("more", "2.0"), build="cpu")  # a new version of the add-on
    installer.install(BASE, "CPU")
    assert index.fetched[4:] == ["more"]
    assert not python_environment.lacks_full_packages()


def test_without_a_network_from_a_folder(index, packages, tmp_path):
    packages(index.add("tiny"))
    index.missing = True
    with pytest.raises(WorkerError):
        installer.install(BASE, "AUTO")
    with pytest.raises(WorkerError, match=r"no folder .*nowhere"):
        installer.install(BASE, "AUTO", str(tmp_path / "nowhere"))
    installer.install(BASE, "AUTO", str(tmp_path / "index/simple/tiny"))
    assert index.fetched == []


@posix
@pytest.mark.parametrize("works", [True, False])
def test_uv_where_it_is_present(index, packages, tmp_path, monkeypatch, capsys, works):
    uv = tmp_path / "uv"
    does = '"$python" -I -m pip install "$@"' if works else "echo 'error: unexpected argument'; exit 2"
    uv.write_text(f'#!/bin/sh\necho "uv $1 $2" >> {tmp_path}/said\npython=$4\nshift 4\n{does}\n', "utf-8")
    uv.chmod(0o755)
    monkeypatch.setattr(installer.shutil, "which", lambda name: str(uv))
    packages(index.add("tiny"))
    installer.install(BASE, "AUTO")
    assert (tmp_path / "said").read_text("utf-8") == "uv pip install\n"
    assert ("so pip is used" in capsys.readouterr().out) != works
    assert module("tiny").exists()


def test_a_full_disk_is_said_before_anything_is_made(packages, monkeypatch):
    packages("tiny==1.0\n")
    monkeypatch.setattr(python_environment, "download_sizes", lambda: {"torch": 3000, "others": 200})
    monkeypatch.setattr(location, "free_space", lambda folder: 5e9)
    with pytest.raises(WorkerError, match=r"the worker needs 9\.6 GB while it is installed and 5\.0 GB are free"):
        installer.install(BASE, "AUTO")
    assert not python_environment.worker_folder().exists()


def probed(version, **abilities):
    """What a Python answers that is looked at."""
    return json.dumps({"version": version, "is_64_bit": True, "makes_environments": True} | abilities)


@posix
def test_a_program_that_prints_without_end_is_no_python(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec yes\n", "utf-8")
    program.chmod(0o755)
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="does not answer like a Python"):
        python_environment.probe(program)
    assert time.monotonic() - begin < 20


MARKERS = ["", "{", "[]", "3", '{"packages": 3}', '{"packages": {"a": 1}, "home": []}', '{"home": null}', "[" * 50_000,
           '{"build": "\\ud800"}', "{}" + " " * 100_000]  # fmt: skip


@pytest.mark.parametrize("content", MARKERS)
def test_a_damaged_record_of_the_installation_is_as_none(data, content):
    folder = python_environment.worker_folder()
    folder.mkdir(parents=True)
    for name in (python_environment.MARKER, python_environment.STARTED):
        (folder / name).write_text(content, "utf-8")
    assert python_environment.read_marker(folder, python_environment.MARKER) == {}
    with pytest.raises(WorkerError, match="not installed yet"):
        python_environment.find()


@posix
def test_a_named_pipe_in_its_place_does_not_block(data):
    folder = python_environment.worker_folder()
    folder.mkdir(parents=True)
    os.mkfifo(folder / python_environment.MARKER)
    os.mkfifo(python_environment.self_test_report())
    with pytest.raises(WorkerError, match="not installed yet"):
        python_environment.find()
    assert python_environment.state(sys.executable).details == ""


REPORT = {"python": sys.executable, "whole": False, "sentence": "It is broken.", "code": "x", "details": [["a", "b"]],
          "text": "All."}  # fmt: skip


def test_the_self_test_s_report_is_read(data):
    data.mkdir(parents=True)
    python_environment.self_test_report().write_text(json.dumps(REPORT), "utf-8")
    assert python_environment.state(sys.executable) == python_environment.State(False, "It is broken.", "All.")


@pytest.mark.parametrize(
    "change",
    [{"whole": "yes"}, {"sentence": 3}, {"sentence": None}, {"text": ["a"]}, {"text": "\ud800"}, {"details": "a"},
     {"details": [{"a": 1}]}, {"more": 1}],
)  # fmt: skip
def test_a_damaged_report_is_as_none(data, change):
    data.mkdir(parents=True)
    python_environment.self_test_report().write_text(json.dumps(REPORT | change), "utf-8")
    assert "Check Worker tells" in python_environment.state(sys.executable).sentence


@pytest.mark.parametrize("line", ["Progress " + "9" * 400 + " of 1", "Downloading a (1.2.3MiB)", "Downloading a (.MiB)",
                                  "Progress 1 of " + "9" * 5000])  # fmt: skip
def test_absurd_sizes_do_not_end_an_installation(capsys, line):
    assert installer._DownloadMeter(0).read(line) is False


def test_a_fault_while_installing_is_a_sentence(data, monkeypatch, capsys):
    def fault(*_):
        raise ArithmeticError("a fault")

    monkeypatch.setattr(installer, "install", fault)
    monkeypatch.setattr(installer.signal, "signal", lambda *_: None)
    assert installer.main(["install", "--base", "x"]) == 1
    out, err = capsys.readouterr()
    failed = decode(out.strip())
    assert isinstance(failed, Failed)
    assert failed.text.startswith("The worker could not be installed, checked, moved or removed: a fault. The log says")
    assert failed.code == "setup-failed"
    assert "Traceback" in err


def test_only_a_build_that_can_exist_is_repaired(data, monkeypatch):
    monkeypatch.setattr(pytorch, "choose", lambda *_: pytorch.Build("cpu", "as the test wants"))
    folder = python_environment.worker_folder()
    folder.mkdir(parents=True)
    for written, used in (("cu126", "cu126"), ("../../x", "cpu"), ("", "cpu")):
        (folder / python_environment.STARTED).write_text(json.dumps({"build": written}), "utf-8")
        assert installer._build(folder, "AUTO", repair=True).name == used


@posix
@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (probed([3, 10, 2]), r"needs Python 3\.11 to 3\.13, 64-bit, and .*python is 3\.10\.2\. Choose"),
        (probed([3, 14, 0]), r"is 3\.14\.0"),
        (probed([3, 11, 9], is_64_bit=False), r"is 3\.11\.9, 32-bit"),
        (probed([3, 11, 9], makes_environments=False), r"cannot make environments.*python3-venv"),
        ("what?", r"does not run \(it does not answer like a Python\)"),
        ("3", r"does not run \(it does not answer like a Python\)"),
    ],
)
def test_a_python_that_does_not_fit(packages, tmp_path, says, sentence):
    packages("")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{says}'\n", "utf-8")
    python.chmod(0o755)
    with pytest.raises(WorkerError, match=sentence):
        installer.install(python, "AUTO")


def test_which_python(data, tmp_path, monkeypatch):
    assert python_environment.find(sys.executable) == Path(sys.executable)
    assert python_environment.base_python() == Path(sys.executable)
    with pytest.raises(WorkerError, match=r"no Python at .*gone"):
        python_environment.base_python(str(tmp_path / "gone"))
    monkeypatch.setenv("WHAM_WORKER_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(WorkerError, match=r"no Python at .*gone"):
        python_environment.find(sys.executable)
    broken = tmp_path / "python"
    broken.write_text("not a program", "utf-8")
    with pytest.raises(WorkerError, match=r"does not run \((Exec format error|Permission denied|OSError)\)"):
        python_environment.probe(broken)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: No matching distribution found for torch==2.14.1", "no worker packages for this computer"),
        ("  × No solution found when resolving dependencies:", "no worker packages for this computer"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError()': /simple/torch/\n"
         "ERROR: No matching distribution found for torch==2.14.1", "Check the internet connection"),
        ("error: Failed to fetch: `https://x/simple/`\n  Caused by: dns error: failed to lookup", "Check the internet"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "is full"),
        ("error: failed to write: There is not enough space on the disk. (os error 112)", "is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one"),
        ("error: Hash mismatch for `tiny==1.0`", "not the one"),
        ("ERROR: [WinError 5] Access is denied: 'torch_cpu.dll'", "Close what uses the worker"),
        ("ERROR: something new", ""),
    ],
)  # fmt: skip
def test_the_output_of_pip_and_uv_is_explained(output, sentence):
    error = pip.explain([output])
    assert (error is None) == (not sentence)
    assert error is None or (sentence in str(error) and error.code)


def test_progress_counts_megabytes(capsys):
    meter = installer._DownloadMeter(300)
    lines = [
        "Progress 50000000 of 100000000", "Progress 100000000 of 100000000", "Progress 20000000 of 50000000",
        "Downloading torch (100.0MiB)", " Downloaded torch", "Installing collected packages: tiny",
    ]  # fmt: skip
    assert [meter.read(line) for line in lines] == [True, True, True, False, False, False]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["done"], one["total"]) for one in told] == [(50, 300), (100, 300), (120, 300), (225, 300), (0, 1)]
    assert [one["fraction"] for one in told] == sorted(one["fraction"] for one in told)


def test_a_worker_that_cannot_be_deleted_is_reported_and_incomplete(data, monkeypatch, capsys):
    folder = python_environment.worker_folder()
    folder.mkdir(parents=True)
    (folder / python_environment.MARKER).write_text("{}", "utf-8")

    def refuse(path):
        raise PermissionError(13, "used by another process", str(path))

    monkeypatch.setattr(installer.shutil, "rmtree", refuse)
    assert installer.main(["remove"]) == 1
    assert "cannot be deleted" in json.loads(capsys.readouterr().out.splitlines()[-1])["text"]
    assert not (folder / python_environment.MARKER).exists()


def test_a_disk_that_is_gone(data, tmp_path):
    location.move(tmp_path / "disk", lambda *_: None)
    (tmp_path / "disk/wham_blender").rmdir()
    with pytest.raises(WorkerError, match="Connect that disk"):
        python_environment.find()


def test_two_at_once_are_refused(data, tmp_path):
    with location.exclusive():
        running = Job(python_environment.remove_command(), tmp_path / "remove.log")
        until(lambda: (running.poll() and False) or running.result, running)
    assert isinstance(running.result, Failed)
    assert "Another Blender is installing" in running.result.text


def test_no_packages_for_this_computer(monkeypatch, capsys):
    monkeypatch.setattr(
        python_environment, "check_base", lambda base: python_environment.Interpreter((3, 11, 0), True, True)
    )
    monkeypatch.setattr(pytorch, "here", lambda: ("darwin", "x86_64"))
    assert installer.main(["install", "--base", "x"]) == 1
    assert "macOS 14 or later on Apple silicon" in capsys.readouterr().out
