"""A job's whole life with workers that behave and workers that do not. Needs no Blender."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wham_blender import launch
from wham_blender.addon.worker.process import BoundedLog, Job, JobError, module_command, standby
from wham_blender.protocol import Done, Failed, Message, Progress, Warn

PATIENCE = 20.0  # seconds within which anything here must have happened
SPEAK = (
    "import os, signal, subprocess, sys, time\n"
    f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    "from wham_blender import launch\n"
    "launch.separate_messages('wham_blender')\n"
    "from wham_blender.protocol import *\n"
    "say = send\n"
)


@pytest.fixture
def start(tmp_path):
    jobs = []

    def launch(script):
        jobs.append(Job([sys.executable, "-c", SPEAK + script], tmp_path / "job" / "worker.log"))
        return jobs[-1]

    yield launch
    for job in jobs:
        job.stop()


def until(job, condition):
    """Poll until the condition holds for the messages so far; returns them."""
    messages: list[Message] = []
    deadline = time.monotonic() + PATIENCE
    while not condition(messages):
        assert time.monotonic() < deadline, (messages, job.log.read_text("utf-8"))
        messages += job.poll()
        time.sleep(0.01)
    return messages


def to_end(job):
    return until(job, lambda _: job.result is not None)


def test_messages_arrive_in_order_and_noise_goes_to_the_log(start):
    job = start(
        "say(Progress('detect', 1, 2, 0.5)); print('a library talks'); say(Warn('dark')); "
        "print('{\"type\": \"Progress\", \"stage\"', end='\\n', flush=True); print('to the log', file=sys.stderr); "
        "say(Done('motion.npz'))"
    )
    messages = to_end(job)
    assert [m for m in messages if not isinstance(m, Progress)] == [Warn("dark"), Done("motion.npz")]
    assert Progress("detect", 1, 2, 0.5) in messages
    assert job.result == Done("motion.npz")
    job.stop()
    log = job.log.read_text("utf-8")
    assert all(text in log for text in ("a library talks", '"stage"', "to the log"))


def test_failed_is_the_result(start):
    job = start("say(Failed('No person found.')); sys.exit(1)")
    to_end(job)
    assert job.result == Failed("No person found.")


def test_a_death_without_a_word_gets_a_sentence_and_its_traceback_a_log(start):
    job = start("say(Progress('detect', 1, 2, 0.5)); 1 / 0")
    to_end(job)
    assert isinstance(job.result, Failed)
    assert "exit code 1" in job.result.text
    assert "the log says more" in job.result.text
    assert "Traceback" not in job.result.text
    job.stop()
    assert "ZeroDivisionError" in job.log.read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_killed_worker_gets_a_sentence(start):
    job = start('os.write(descriptor, b\'{"type": "Pro\'); os.kill(os.getpid(), signal.SIGKILL)')
    to_end(job)
    assert isinstance(job.result, Failed)
    assert "SIGKILL" in job.result.text


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no such signals")
def test_a_signal_without_a_name_ends_a_job_too(start):
    job = start("os.kill(os.getpid(), signal.SIGRTMIN + 5)")
    to_end(job)
    assert isinstance(job.result, Failed)
    assert job.result.text.startswith(f"The worker was ended by signal {signal.SIGRTMIN + 5}, perhaps")


def test_what_a_library_prints_without_a_line_end_does_not_lose_the_result(start):
    job = start(
        "print('Python talks', end='', flush=True); os.write(1, b'{C talks'); "
        "print('an error talks', end='', file=sys.stderr, flush=True); say(Done('motion.npz'))"
    )
    to_end(job)
    assert job.result == Done("motion.npz")
    job.stop()
    log = job.log.read_text("utf-8")
    assert all(text in log for text in ("Python talks", "{C talks", "an error talks"))


@pytest.mark.parametrize(
    "line",
    [
        '{"type": "Failed", "text": 3}', '{"type": "Log", "text": 3}', '{"type": "Log", "text": "\\ud800"}',
        '{"type": "Warn", "text": null}', '{"type": "Progress", "stage": 1, "done": {}, "total": [], "fraction": "x"}',
        '{"type": ' + "[" * 50_000, "{\0", "[" * 50_000,
    ],
)  # fmt: skip
def test_odd_lines_do_not_lose_the_result(start, line):
    job = start(f"os.write(descriptor, {line.encode()!r} + bytes([10])); say(Done('motion.npz'))")
    messages = to_end(job)
    assert [message for message in messages if not isinstance(message, Done)] == []
    assert job.result == Done("motion.npz")
    job.stop()
    assert job.log.stat().st_size > 2


def test_a_fault_of_the_reading_ends_with_a_sentence(start, monkeypatch):
    """A bug there is not known; if there is one, the job must end nevertheless."""

    def fault(line):
        raise ArithmeticError("a fault")

    monkeypatch.setattr("wham_blender.protocol.decode", fault)
    job = start("[say(Warn('x' * 1000)) for n in range(1000)]")  # more than a pipe holds
    to_end(job)
    assert isinstance(job.result, Failed)
    assert "ended without a result (exit code 0)" in job.result.text
    job.stop()
    assert "ArithmeticError: a fault" in job.log.read_text("utf-8")


def test_the_line_that_is_shown_is_short(start):
    job = start("print('word ' * 100_000, flush=True); time.sleep(60)")
    until(job, lambda _: job.last_line)
    assert len(job.last_line) <= 500


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are files on POSIX only")
def test_a_log_that_is_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "worker.log")
    with pytest.raises(JobError, match="cannot be started"):
        Job([sys.executable, "-c", ""], tmp_path / "worker.log")


def test_a_null_character_in_an_argument_is_a_sentence(tmp_path):
    with pytest.raises(JobError, match="cannot be started"):
        Job([sys.executable, "-c", "a\0b"], tmp_path / "worker.log")


def test_poll_does_not_wait_for_a_worker_that_hangs(start):
    job = start("say(Progress('detect', 0, 9, 0.0)); time.sleep(60)")
    until(job, bool)
    assert job.poll() == []  # a poll that waited would never come back within the suite's patience
    job.cancel()
    to_end(job)
    assert job.cancelled
    assert isinstance(job.result, Failed)
    assert "cancelled" in job.result.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to ignore")
def test_a_worker_that_ignores_the_signal_is_killed_with_what_it_started(start):
    job = start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "say(Progress('detect', child.pid, 0, 0.0)); time.sleep(60)"
    )
    child = until(job, bool)[0].done
    job.cancel()
    to_end(job)
    deadline = time.monotonic() + PATIENCE
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_that_ends_on_the_signal_may_say_so_itself(start):
    job = start(
        "def end(*_): say(Failed('Stopped by you.')); os._exit(130)\n"
        "signal.signal(signal.SIGTERM, end); say(Progress('detect', 0, 9, 0.0)); time.sleep(60)"
    )
    until(job, bool)
    job.cancel()
    to_end(job)
    assert job.result == Failed("Stopped by you.")


def test_a_child_that_keeps_the_pipe_open_does_not_delay_the_end(start):
    job = start("subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); os._exit(3)")
    to_end(job)
    assert "exit code 3" in job.result.text


def test_the_environment_of_blenders_python_stays_out(start, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    job = start("say(Done(','.join(n for n in os.environ if n.startswith('PYTHON'))))")
    to_end(job)
    assert job.result == Done("")


def test_no_interpreter_is_a_sentence(tmp_path):
    with pytest.raises(JobError, match="cannot be started"):
        Job([str(tmp_path / "python")], tmp_path / "worker.log")


def test_a_module_runs_under_its_name_and_other_extensions_stay_behind(tmp_path, monkeypatch):
    """Laid out as extensions are: other folders beside this package must not stand before the worker's modules."""
    user_default = tmp_path / "user_default"
    (user_default / "json").mkdir(parents=True)
    (user_default / "json" / "__init__.py").write_text("raise ImportError('another extension')", "utf-8")
    package = user_default / "wham_blender"
    package.mkdir()
    (package / "__init__.py").write_text("", "utf-8")
    shutil.copy(launch.__file__, package)
    (package / "protocol.py").touch()
    (package / "worker.py").write_text("import json, sys; print(__name__, __package__, sys.argv[1:])", "utf-8")
    monkeypatch.setattr("wham_blender.addon.worker.process._PACKAGE", package)
    job = Job(module_command(Path(sys.executable), "wham_blender.worker", "a clip.mp4"), tmp_path / "worker.log")
    to_end(job)
    job.stop()
    assert job.log.read_text("utf-8").strip() == "__main__ wham_blender ['a clip.mp4']"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The command without arguments of a worker that says whether it was preloaded and with which arguments it runs."""
    package = tmp_path / "wham_blender"
    worker = package / "worker"
    worker.mkdir(parents=True)
    shutil.copy(launch.__file__, package)
    for path in (package / "__init__.py", package / "protocol.py", worker / "__init__.py"):
        path.touch()
    (worker / "preload.py").write_text("print('loaded', flush=True)", "utf-8")
    (worker / "__main__.py").write_text("import os, sys; print(os.getpid(), sys.argv[1:])", "utf-8")
    monkeypatch.setattr("wham_blender.addon.worker.process._PACKAGE", package)
    command = module_command(Path(sys.executable), "wham_blender.worker")
    yield command
    standby.stop()


def test_a_prepared_process_runs_one_job(prepared, tmp_path):
    standby.prepare(prepared)
    waiting = standby.pid
    logs = [tmp_path / "first" / "worker.log", tmp_path / "second" / "worker.log"]
    first, second = (Job([*prepared, "clip é.mp4"], log) for log in logs)
    for job in (first, second):
        to_end(job)
        job.stop()
    assert first.pid == waiting
    assert logs[0].read_text("utf-8").splitlines() == ["loaded", f"{waiting} ['clip é.mp4']"]
    assert logs[1].read_text("utf-8").splitlines() == [f"{second.pid} ['clip é.mp4']"]


def test_a_cancel_ends_a_prepared_process(prepared, tmp_path):
    standby.prepare(prepared)
    waiting = standby.pid
    job = Job([*prepared, "clip.mp4"], tmp_path / "worker.log")
    job.cancel()
    to_end(job)
    assert isinstance(job.result, Failed)
    assert job.result.code == "cancelled"
    assert job.pid == waiting
    assert not is_running(waiting)


@pytest.mark.parametrize("change", ["source", "variable", "command", "age", "death"])
def test_an_outdated_process_runs_nothing(change, prepared, tmp_path, monkeypatch):
    standby.prepare(prepared)
    waiting = standby.pid
    if change == "source":
        (tmp_path / "wham_blender" / "worker" / "__main__.py").write_text("print('new')", "utf-8")
    elif change == "variable":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elif change == "command":  # of the installer, say
        prepared = [sys.executable, "-c", "print('other')"]
    elif change == "age":
        monkeypatch.setattr(launch, "STANDBY_SECONDS", 0.0)
    else:
        os.kill(waiting, signal.SIGTERM)
        time.sleep(0.2)
    job = Job([*prepared, "clip.mp4"], tmp_path / "worker.log")
    assert job.pid != waiting
    assert not is_running(waiting)
    to_end(job)
    job.stop()
    assert "loaded" not in job.log.read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_worker_ends_with_whoever_started_it(tmp_path):
    """As when Blender crashes: nothing asks the worker to end, and it ignores what would."""
    package = tmp_path / "wham_blender"
    package.mkdir()
    shutil.copy(launch.__file__, package)
    for name in ("__init__.py", "protocol.py"):
        (package / name).touch()
    (package / "worker.py").write_text(
        "import os, signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(os.getpid(), child.pid, flush=True)\ntime.sleep(60)\n",
        "utf-8",
    )
    blender = (
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom wham_blender.addon.worker import process\n"
        f"process._PACKAGE = Path({str(package)!r})\n"
        "command = process.module_command(Path(sys.executable), 'wham_blender.worker')\n"
        f"started = process.Job(command, Path({str(tmp_path / 'worker.log')!r}))\n"
        "while not started.last_line: time.sleep(0.01)\n"
        "print(started.last_line, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    said = subprocess.run([sys.executable, "-c", blender], capture_output=True, text=True, check=False).stdout
    worker, child = map(int, said.split())
    deadline = time.monotonic() + PATIENCE
    while is_running(worker) or is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nobody_else_s_input_ends_a_process():
    code = "import sys; sys.argv = ['launch.py', 'this']; from wham_blender import launch; launch.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "Beautiful is better than ugly." in done.stdout


@pytest.mark.parametrize("console", [True, False])
def test_windows_is_asked_and_then_told(console, monkeypatch):
    called: list[tuple] = []

    def kill(pid, what):
        called.append((pid, what))
        if not console:
            raise OSError(6, "The handle is invalid")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", "CTRL_BREAK", raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: called.append(tuple(command)))
    launch.end_tree(77, force=False)
    launch.end_tree(77, force=True)
    assert called == [(77, "CTRL_BREAK"), ("taskkill", "/T", "/F", "/PID", "77")]


def test_a_group_of_zombies_is_a_group_that_ended(monkeypatch):
    """What macOS says of one."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    for force in (False, True):
        launch.end_tree(77, force)


@pytest.mark.parametrize(("system", "session", "flags"), [("win32", False, 0x208), ("linux", True, 0)])
def test_a_worker_leads_a_group_and_opens_no_window(system, session, flags, tmp_path, monkeypatch):
    started = {}

    def start(command, **options):
        started.update(options)
        raise FileNotFoundError(2, "No such file", command[0])

    monkeypatch.setattr(sys, "platform", system)
    for name, value in (("CREATE_NEW_PROCESS_GROUP", 0x200), ("CREATE_NO_WINDOW", 0x8)):
        if system == "win32":
            monkeypatch.setattr(subprocess, name, value, raising=False)
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(JobError, match="cannot be started"):
        Job(["python"], tmp_path / "worker.log")
    assert (started["start_new_session"], started["creationflags"]) == (session, flags)
    assert started["env"][launch.ENDS_WITH_INPUT] == "1"


def test_a_log_keeps_its_beginning_and_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(BoundedLog, "SIZE", 4000)
    monkeypatch.setattr(BoundedLog, "HEAD", 500)
    monkeypatch.setattr(BoundedLog, "TAIL", 1000)
    log = BoundedLog(tmp_path / "worker.log")
    for number in range(2000):
        log.write(f"line {number}\n".encode())
        assert (tmp_path / "worker.log").stat().st_size <= 4000
    lines = (tmp_path / "worker.log").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("line 0", "line 1999")
    assert "... lines left out ..." in lines
    assert all(line.startswith(("line ", "...")) for line in lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_loses_the_log_and_nothing_else(tmp_path):
    job = Job([sys.executable, "-c", SPEAK + "print('noise'); say(Done('motion.npz'))"], Path("/dev/full"))
    messages = to_end(job)
    assert job.result == Done("motion.npz")
    assert Done("motion.npz") in messages


def test_a_flood_of_messages_waits_for_its_turn(start):
    """Each look takes in a bounded part; nothing is lost, and the end comes last."""
    job = start("[say(Warn(str(n))) for n in range(5000)]; say(Failed('Enough.'))")
    time.sleep(0.3)
    assert len(job.poll(seconds=0.0)) <= 1
    warnings = [int(message.text) for message in to_end(job) if isinstance(message, Warn)]
    assert warnings == sorted(warnings)
    assert warnings[-1] == 4999
    assert job.result == Failed("Enough.")


def test_stopping_in_a_flood_leaves_no_thread_behind(start):
    job = start("while True: say(Warn('again'))")
    until(job, bool)
    job.stop()
    assert not set(job._readers) & set(threading.enumerate())
