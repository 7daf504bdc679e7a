"""Where the large files lie and moving them: on one disk, to another, interrupted, refused. Needs no Blender."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from wham_blender.addon.worker import location
from wham_blender.addon.worker.location import LocationError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The platform's data folder, with a worker in it whose Python is a link, as in an environment."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    folder = location.default_folder()
    (folder / "worker/bin").mkdir(parents=True)
    (folder / "worker/empty").mkdir()
    (folder / "worker/lib").mkdir()
    (folder / "worker/bin/python").symlink_to("/usr/bin/env")
    (folder / "worker/lib64").symlink_to("lib")
    for number in range(5):
        (folder / f"worker/lib/{number}.so").write_bytes(bytes([number]) * 1000)
    (folder / "jobs").mkdir()
    (folder / "jobs/walk.npz").write_bytes(b"motion")
    return folder


@pytest.fixture
def other_disk(monkeypatch):
    """Renaming fails as between disks."""

    def refuse(self, target):
        if "worker" in str(self) or "jobs" in str(self):
            raise OSError(18, "Invalid cross-device link")
        return self.replace(target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(location, "_same_disk", lambda source, target: False)


def content(folder):
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
        if path.name not in location._STAYS
    }


def nothing(done, total):
    pass


@pytest.mark.parametrize("disk", ["same", "other"])
def test_all_of_it_moves_and_moves_back(data, tmp_path, request, disk):
    if disk == "other":
        request.getfixturevalue("other_disk")
    before: dict = content(data)
    told: list[tuple] = []
    assert location.move(tmp_path / "big", lambda *done: told.append(done)) == []
    there = tmp_path / "big" / "wham_blender"
    assert location.data_folder() == there
    assert content(there) == before
    assert content(data) == {}
    assert location.unfinished_move() is None
    assert told[-1] == ((5006 + len("/usr/bin/env") + len("lib"),) * 2 if disk == "other" else (0, 0))
    location.move(data, nothing)
    assert location.data_folder() == data
    assert content(data) == before
    assert not there.exists()


def test_an_interrupted_move_loses_nothing_and_goes_on(data, tmp_path, other_disk, monkeypatch):
    before: dict = content(data)
    copied: list[str] = []
    whole = shutil.copy2

    def full(source, target, **options):
        if len(copied) == 3:
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        copied.append(source)
        return whole(source, target, **options)

    monkeypatch.setattr(location.shutil, "copy2", full)
    with pytest.raises(LocationError, match=r"No space left on device.*Nothing is lost"):
        location.move(tmp_path / "big", nothing)
    assert location.data_folder() == data
    assert content(data) == before
    assert location.unfinished_move() == tmp_path / "big" / "wham_blender"
    monkeypatch.setattr(location.shutil, "copy2", lambda s, t, **o: whole(copied.append(s) or s, t, **o))  # type: ignore
    location.move(tmp_path / "big", nothing)
    assert content(tmp_path / "big" / "wham_blender") == before
    assert len(copied) == len(set(copied)), "what was whole is not copied again"
    assert content(data) == {}


def test_files_that_cannot_be_deleted_are_reported_and_deleted_next_time(data, tmp_path, monkeypatch):
    monkeypatch.setattr(location, "_transfer", lambda children, target, progress: [
        shutil.copytree(child, target / child.name, symlinks=True) for child in children
    ])  # fmt: skip
    with monkeypatch.context() as patch:

        def refuse(path):
            raise PermissionError(13, "used by another process")

        patch.setattr(location.shutil, "rmtree", refuse)
        assert location.move(tmp_path / "big", nothing) == [str(data / "jobs"), str(data / "worker")]
    assert location.data_folder() == tmp_path / "big" / "wham_blender"
    assert location.unfinished_move() == location.data_folder()
    assert location.move(location.data_folder(), nothing) == []
    assert content(data) == {}
    assert location.unfinished_move() is None


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("home/wham_blender/worker", "inside one another"),
        ("home/wham_blender", "lies in .* already"),
        ("used", "has a jobs already"),
        ("full", r"not enough space in .*: 0\.0 GB are to be moved and 0\.0 GB are free"),
    ],
)
def test_refused(data, tmp_path, other_disk, monkeypatch, place, sentence):
    before = content(data)
    (tmp_path / "used/wham_blender/jobs").mkdir(parents=True)
    if place == "full":
        monkeypatch.setattr(location, "free_space", lambda folder: 10)
    chosen = data.parent if place == "home/wham_blender" else tmp_path / place
    with pytest.raises(LocationError, match=sentence):
        location.move(chosen, nothing)
    assert content(data) == before
    assert location.data_folder() == data


def test_a_folder_of_a_disk_that_is_gone_can_be_left(data, tmp_path):
    location.move(tmp_path / "big", nothing)
    (tmp_path / "big").rename(tmp_path / "unplugged")
    location.move(data, nothing)
    assert location.data_folder() == data


def test_sizes(data):
    assert list(location.usage(data).items()) == [("worker", 5000 + len("/usr/bin/env") + len("lib")), ("jobs", 6)]
    assert location.usage(data / "none") == {}
    assert location.free_space(data / "not/there/yet") > 0


def test_what_is_renamed_goes_back_when_the_rest_cannot_be_moved(data, tmp_path, monkeypatch):
    before = content(data)
    rename = Path.rename

    def refuse(self, target):
        if self.name == "worker":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "x.so")

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(location.shutil, "copy2", full)
    with pytest.raises(LocationError, match=r"\(x\.so: No space left on device\).*Nothing is lost"):
        location.move(tmp_path / "big", nothing)
    assert content(data) == before
    assert not (tmp_path / "big/wham_blender/jobs").exists()


def test_what_is_renamed_goes_back_when_the_record_cannot_be_written(data, tmp_path, monkeypatch):
    before = content(data)
    write = location._write

    def full(kept):
        if "left_behind" in kept:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(kept)

    monkeypatch.setattr(location, "_write", full)
    with pytest.raises(LocationError, match="No space left"):
        location.move(tmp_path / "big", nothing)
    assert location.data_folder() == data
    assert content(data) == before


@pytest.mark.parametrize("name", ["worker/lib/1.so", "worker/lib"])
def test_something_of_another_kind_in_the_way(data, tmp_path, other_disk, name):
    before = content(data)
    location._write(
        {"folder": str(data), "moving_to": str(tmp_path / "big/wham_blender")}
    )  # resumed: it may hold files
    place = tmp_path / "big/wham_blender" / name
    if name.endswith(".so"):
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True)
        place.touch()
    with pytest.raises(LocationError, match=rf"stopped \(.*{name}: .*Nothing is lost"):
        location.move(tmp_path / "big", nothing)
    assert content(data) == before
    assert not [path for path in (tmp_path / "big").rglob("*") if path.suffix == ".part" or path.name == ".moving"]


def test_a_download_that_broke_off_moves_beside_the_older_file(data, tmp_path, other_disk):
    """NAME.part was overwritten by the copy of NAME."""
    (data / "jobs/x.pt.part").write_bytes(b"a part")
    (data / "jobs/x.pt").write_bytes(b"the file")
    before: dict = content(data)
    location.move(tmp_path / "big", nothing)
    assert content(tmp_path / "big/wham_blender") == before


def test_a_copy_that_a_killed_move_left_is_deleted(data, tmp_path, other_disk):
    before: dict = content(data)
    (tmp_path / "big/wham_blender").mkdir(parents=True)
    (tmp_path / "big/wham_blender/.moving").write_bytes(b"half")
    location.move(tmp_path / "big", nothing)
    assert content(tmp_path / "big/wham_blender") == before
    assert not (tmp_path / "big/wham_blender/.moving").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_sockets_do_not_stop_a_move(data, tmp_path, other_disk):
    before: dict = content(data)
    os.mkfifo(data / "worker/pipe")
    location.move(tmp_path / "big", nothing)
    assert content(tmp_path / "big/wham_blender") == before
    assert content(data) == {}


def test_a_folder_that_cannot_be_read_is_not_left_behind(data, tmp_path, other_disk, monkeypatch):
    """It was skipped in silence, and the rest deleted."""
    before = content(data)
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "lib":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(location.os, "scandir", refuse)
    with pytest.raises(LocationError, match=r"lib: Permission denied"):
        location.move(tmp_path / "big", nothing)
    assert location.usage(data)["jobs"] == 6  # the rest is still measured
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(data.parent))
    assert content(data) == before


@pytest.mark.parametrize("place", ["a\0b", "loop/x", "n" * 300])
def test_folders_that_cannot_exist(data, tmp_path, place):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = content(data)
    with pytest.raises(LocationError, match="Nothing is lost"):
        location.move(tmp_path / place, nothing)
    assert content(data) == before


def test_only_this_add_ons_folders_are_ever_deleted(data, tmp_path):
    """A damaged or edited record must not delete somebody's files."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/mine.jpg").touch()
    location._write({"folder": str(data), "left_behind": str(tmp_path / "pictures")})
    with pytest.raises(LocationError, match="was never the folder of this add-on"):
        location.move(data, nothing)
    assert (tmp_path / "pictures/mine.jpg").exists()


def test_files_that_are_not_moved_do_not_stop_the_end_of_a_move(data, tmp_path):
    location.move(tmp_path / "big", nothing)
    (tmp_path / "big/wham_blender/move.log").touch()
    assert location.move(data, nothing) == []
    assert location.unfinished_move() is None


def test_a_damaged_record_means_the_platforms_folder(data):
    (data / "location.json").write_text("{half", "utf-8")
    assert location.data_folder() == data


def test_one_at_a_time(data):
    with location.exclusive(), pytest.raises(LocationError, match="Another Blender"), location.exclusive():
        pass
    with location.exclusive():
        pass


def test_a_damaged_lock_is_made_anew(data):
    (data / "setup.lock").write_bytes(b"no database" * 1000)
    with location.exclusive(), pytest.raises(LocationError, match="Another Blender"), location.exclusive():
        pass


def test_a_lock_that_cannot_be_made_does_not_blame_another_blender(data):
    (data / "setup.lock").mkdir()
    with pytest.raises(LocationError, match="cannot be written"), location.exclusive():
        pass


def test_a_database_error_of_the_work_itself_is_not_the_locks(data):
    with pytest.raises(sqlite3.OperationalError), location.exclusive():
        raise sqlite3.OperationalError("of the block")
