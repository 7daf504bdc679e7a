"""Messages between processes: whatever arrives becomes a message, and nothing else comes between them."""

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wham_blender import launch, limits, protocol
from wham_blender.protocol import Done, Failed, FoundPerson, Log, People, Progress, Warn

PACKAGE = Path(launch.__file__).parent
DEEP = 100_000


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "Failed", "text": 3}',
        '{"type": "Failed", "text": null}',
        '{"type": "Done", "path": ["a"]}',
        '{"type": "Failed", "text": "\\ud800"}',
        '{"type": "Warn", "text": "a", "code": {}}',
        '{"type": "Warn", "text": "' + "x" * (limits.TEXT + 1) + '"}',
        "[" * DEEP,
        '{"type":' * DEEP,
        '{"type": "Log", "text": ' + "[" * DEEP,
        '{"type": ["Log"], "text": "a"}',
        '{"type": 1}',
        '{"type": "Progress", "stage": "a", "done": 1, "total": 2, "fraction": NaN}',
        '{"type": "Progress", "stage": "a", "done": 1, "total": 2, "fraction": 1e999}',
        '{"type": "Progress", "stage": "a", "done": 1, "total": 2, "fraction": 1.1}',
        '{"type": "Progress", "stage": "a", "done": -1, "total": 2, "fraction": 0.5}',
        '{"type": "Progress", "stage": "a", "done": ' + "9" * 400 + ', "total": 2, "fraction": 0.5}',
        '{"type": "Progress", "stage": "a", "done": 1, "total": 2, "fraction": 0.5, "seconds_left": -3}',
        '{"type": "Progress", "stage": "a", "done": true, "total": 2, "fraction": 0.5}',
        '{"type": "People", "people": [1]}',
        '{"type": "People", "people": [{"id": 1}]}',
        '{"type": "People", "people": [{"id": 1, "first_frame": 1, "last_frame": 9, "frames": 9, "height": 0.5, '
        '"picture": "../secret.png"}]}',
        '{"type": "Clip", "sha256": "' + "a" * 65 + '"}',
        "\ud800",
        '{"type": "Log", "text": "\udcff"',
        "x" * (2 * limits.MESSAGE_BYTES),
    ],
)
def test_a_line_that_is_no_valid_message_is_a_log_line(line):
    message = protocol.decode(line)
    assert isinstance(message, Log)
    assert message.text.startswith(line[:1].encode("utf-8", "replace").decode())
    message.text.encode()
    assert len(message.text) <= limits.TEXT


def test_numbers_of_messages_are_finite_and_whole_ones_stay_whole():
    message = protocol.decode('{"type": "Progress", "stage": "a", "done": 1, "total": 2, "fraction": 1}')
    assert message == Progress("a", 1, 2, 1.0)
    assert all(math.isfinite(value) for value in dataclasses.astuple(message) if isinstance(value, float))


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("line one\nline two\r\u2028\x85end\0\x1b[2J", "line one\nline two\r??end??[2J"),
        ("/clips/caf\udce9.mp4", "/clips/caf?.mp4"),
        ("/clips/\u202e4pm.kcatta", "/clips/?4pm.kcatta"),
        ("\ud83d\ude00", "??"),
        ("😀 näh", None),
        ("x" * 10_000, "x" * limits.TEXT),
    ],
)
def test_any_text_arrives_on_one_line(text, arrives):
    for message in (Failed(text, "unexpected"), Warn(text), Log(text)):
        line = protocol.encode(message)
        assert line.isascii()
        assert len(line.splitlines()) == 1
        assert protocol.decode(line) == dataclasses.replace(message, text=text if arrives is None else arrives)


@pytest.mark.parametrize("path", ["/clips/caf\udce9.npz", "/clips/a\nb\x1b.npz", "/\U0001f600/n\xe4h.npz", "/a" * 2500])
def test_the_path_of_the_result_arrives_as_it_is(path):
    line = protocol.encode(Done(path))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert protocol.decode(line) == Done(path)


@pytest.mark.parametrize("path", ["/clips/\ud800.npz", "/clips/a\0b.npz"])
def test_what_no_file_can_be_called_is_no_result(path):
    assert isinstance(protocol.decode(json.dumps({"type": "Done", "path": path})), Log)


def test_as_many_people_as_may_be_sent_arrive():
    people = [
        FoundPerson(number, 1, 10**7, 10**7, 0.123, f"person-{number}-01234567.png")
        for number in range(1, limits.PEOPLE + 1)
    ]
    line = protocol.encode(People(people))
    assert len(line) < limits.MESSAGE_BYTES / 4
    assert protocol.decode(line) == People(people)


@pytest.fixture
def launched(tmp_path):
    """The command that launches a module of this package with the text given, away from the other modules."""
    package = tmp_path / "wham_blender"
    package.mkdir()
    for name in ("__init__.py", "launch.py", "protocol.py", "records.py", "limits.py", "files.py", "errors.py"):
        shutil.copy(PACKAGE / name, package)

    def command(code, *options):
        (package / "worker.py").write_text(
            "import os, subprocess, sys, threading\nfrom . import protocol\nfrom .protocol import *\n" + code, "utf-8"
        )
        return [sys.executable, "-I", str(package / "launch.py"), *options, "wham_blender.worker"]

    return command


def test_what_is_printed_stays_out_of_the_messages(launched):
    code = (
        "print('Python says', end='')\nsys.stdout.flush()\nos.write(1, b' and C says')\n"
        "subprocess.run([sys.executable, '-c', 'print(\" and a child says\", end=\"\")'])\nsend(Done('motion.npz'))\n"
    )
    done = subprocess.run(launched(code, launch.MESSAGES), capture_output=True, text=True, check=True)
    assert [protocol.decode(line) for line in done.stdout.splitlines()] == [Done("motion.npz")]
    assert done.stderr == "Python says and C says and a child says"


def test_without_the_option_all_goes_where_it_went(launched):
    done = subprocess.run(launched("print('text')\nsend(Log('näh'))\n"), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["text", protocol.encode(Log("näh"))]
    assert done.stderr == ""


def test_children_do_not_inherit_the_messages_pipe(launched):
    """Else a child that outlives the worker would keep the add-on waiting."""
    code = (
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE, "
        "close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "send(Log(str(child.pid)))\nos._exit(0)\n"
    )
    done = subprocess.run(launched(code, launch.MESSAGES), stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    assert isinstance(protocol.decode(done.stdout.strip()), Log)


def test_messages_of_several_threads_are_whole_lines(launched):
    code = (
        "def talk(n):\n for k in range(200): send(Log(f'{n} {k} ' + 'x' * 4000))\n"
        "threads = [threading.Thread(target=talk, args=[n]) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    done = subprocess.run(launched(code, launch.MESSAGES), capture_output=True, text=True, check=True)
    logged = [json.loads(line)["text"].split()[:2] for line in done.stdout.splitlines()]
    assert sorted(logged) == sorted([str(n), str(k)] for n in range(4) for k in range(200))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("options", [[launch.MESSAGES], []])
def test_a_reader_that_is_gone_is_no_traceback(launched, options):
    code = "for n in range(3): send(Log(str(n)))\nopen('went on', 'w').close()\n"
    reading, writing = os.pipe()
    os.close(reading)
    command = launched(code, *options)
    folder = Path(command[2]).parent
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=folder, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "went on").exists()
