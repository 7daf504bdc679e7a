"""What the fuzz harness calls in its child process: each reader of something from outside, used as the program uses it.

A reader takes the path of the example and returns whether it was accepted; where the program documents a value instead
of an error for what it cannot read (None, {}, a Log), that value is a refusal. Any exception but a CodedError is a
finding, a failed assertion too: what was accepted must be usable. Packages are imported in the readers, so that a child
process loads only those of its target.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

KEY = "0123456789abcdef0123"  # of the stage files
ROW = (3,)  # shape of a row of the array file


def _use(array: Any) -> None:
    """Read all of an array, and what its type says: a damaged one ends the process here."""
    import numpy as np

    assert type(array) is np.ndarray
    assert array.dtype.kind in "biufU", array.dtype
    assert array.dtype.fields is None
    repr(array.dtype)
    array.tobytes()


def smpl(path: Path) -> bool:
    from wham_blender import smpl_file

    arrays = smpl_file.read(path)
    for array in arrays.values():
        _use(array)
        assert array.dtype.kind in "fiu"
    return True


def recognised(path: Path) -> bool:
    from wham_blender.weights import contents

    found = contents.recognise(path)
    assert found.description
    assert found.description.isprintable(), found.description
    assert len(found.description) < 300
    return found.role is not None


def checkpoint(path: Path) -> bool:
    import torch

    from wham_blender.pipeline import checkpoints

    for name, tensor in checkpoints.read(path).items():
        assert isinstance(name, str)
        assert isinstance(tensor, torch.Tensor)
        if tensor.numel():  # outside of its memory, if that is smaller than its shape says
            tensor[(0,) * tensor.ndim].clone()
            tensor[(-1,) * tensor.ndim].clone()
    return True


def yolo(path: Path) -> bool:
    from wham_blender.pipeline.people import yolo

    _model, names = yolo.load(path)
    assert all(isinstance(name, str) for name in names.values())
    return True


def motions(path: Path) -> bool:
    import numpy as np

    from wham_blender import motion

    for person in motion.load(path):
        assert np.isfinite(person.joints()).all()
        assert (np.diff(person.frame) > 0).all()
        assert (np.diff(person.time) > 0).all()
        assert 0 <= person.contacts.min() <= person.contacts.max() <= 1
        assert np.abs(np.linalg.det(person.camera_R) - 1).max() < 0.5
        assert person.camera_K[0, 0] > 0
        json.dumps(person.meta, allow_nan=False).encode()
        person.gender.encode()
    return True


def rig_map(path: Path) -> bool:
    from wham_blender.addon.retarget import maps

    read = maps.read(path)
    names = maps.all_names(read)
    maps.to_toml(maps.fit(read, names)).encode()
    assert maps.from_toml(maps.to_toml(read), path.name) == read
    return True


def message(path: Path) -> bool:
    from wham_blender import protocol

    read = protocol.decode(path.read_bytes().decode("utf-8", "replace"))
    protocol.encode(read).encode()
    numbers = [value for value in dataclasses.astuple(read) if isinstance(value, int | float)]
    assert all(map(math.isfinite, numbers)), read
    text = getattr(read, "text", "")
    assert isinstance(text, str)
    text.strip().encode()
    return not isinstance(read, protocol.Log)


def job(path: Path) -> bool:
    from wham_blender.addon.jobs import job_record

    record = job_record.load(path.parent)
    if record is None:
        return False
    assert job_record.scan(path.parent.parent)
    assert isinstance(record.person, str)
    assert record.result is None or record.result.is_file()
    assert isinstance(record.clip_was_exchanged(), bool)
    record.save()
    assert job_record.load(path.parent) == record
    return True


def library(path: Path) -> bool:
    from wham_blender.weights.library import Library

    read = Library(path.parent)
    for role in read.paths():
        read.path(role)
    read.missing()
    return bool(read.paths())


def location(path: Path) -> bool:
    os.environ["XDG_DATA_HOME"] = str(path.parents[1])
    from wham_blender import folders
    from wham_blender.addon.worker import location

    record = folders.record()
    os.fspath(folders.data_folder())
    location.unfinished_move()
    return bool(record)


def rates(path: Path) -> bool:
    from wham_blender import protocol
    from wham_blender.pipeline.progress import JobProgress, StageRates

    told: list[protocol.Message] = []
    read = StageRates(path, "cpu draft", ["vitpose"])
    stages = ("detect", "smplify", "wham")
    progress = JobProgress(read, told.append)
    progress.expect(stages, 100)
    for stage in stages:
        assert 0 < read[stage] < math.inf
        progress.begin(stage)
        progress.update(50, 100)
        progress.finish(cached=True)
    for line in told:
        assert isinstance(line, protocol.Progress)
        assert 0 <= line.fraction <= 1
        assert line.seconds_left is not None
        assert math.isfinite(line.seconds_left)
    return read["detect"] == 0.5  # the seed's


def marker(path: Path) -> bool:
    from wham_blender.addon.worker import python_environment

    read = python_environment.read_marker(path.parent, path.name)
    assert isinstance(read, dict)
    return bool(read)


def stage(path: Path) -> bool:
    from wham_blender.pipeline.stages import cache

    arrays = cache._load(path, KEY)
    for array in (arrays or {}).values():
        _use(array)
    return arrays is not None


def array_file(path: Path) -> bool:
    import numpy as np

    from wham_blender.pipeline.array_file import ArrayFile

    file = ArrayFile(path, KEY)
    if not file.is_complete():
        return False
    np.array(file.read(ROW, np.float32)).sum()
    return True


def clip(path: Path) -> bool:
    return _read(path)


def _read(path: Any) -> bool:
    """Read a clip: the path of a video, or an image sequence."""
    import numpy as np

    from wham_blender.pipeline.clip import video_reader

    info = video_reader.probe(path)
    assert info.width > 0
    assert info.height > 0
    assert 0 < info.fps < math.inf
    number, time = 0, -math.inf
    for frame in video_reader.read_frames(path):
        assert frame.number == number + 1, (frame.number, number)
        assert time < frame.time < math.inf, (frame.time, time)
        number, time = frame.number, frame.time
        if frame.image is not None:
            assert frame.image.dtype == np.uint8
            assert frame.image.ndim == 3
            frame.image.sum()
    video_reader.read_frame(path, 0.0)
    return True


def picture(path: Path) -> bool:
    """The example as both pictures of a sequence."""
    from wham_blender.image_sequence import ImageSequence
    from wham_blender.pipeline.clip.image_sequence import PictureClip, content_sha256

    sequence = PictureClip(ImageSequence(path.parent, "shot_####.png", {1: path.name, 2: path.name}), 24.0)
    assert _read(sequence)
    content_sha256(sequence)
    return True


def focal_length(path: Path) -> bool:
    from wham_blender.pipeline.clip import quicktime_metadata

    millimetres = quicktime_metadata.focal_length(path)
    assert millimetres is None or 0 < millimetres < math.inf
    return millimetres is not None


def download(path: Path) -> bool:
    """Download from a server that answers every request with the bytes of the example."""
    from wham_blender.weights import Published
    from wham_blender.weights.download import download

    answer, folder = path.read_bytes(), path.with_name("downloads")
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):  # else the answer's end may be lost
                        pass
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    address = f"http://127.0.0.1:{server.getsockname()[1]}/body"
    entry = Published(
        "smpl", "SMPL_NEUTRAL.pkl", "SMPL", "a body", "none", "nothing.", "", "", address, member="body.pkl"
    )
    try:
        downloaded = download(entry, folder, lambda done, total: None, pause=0)
        assert downloaded.is_file()
        assert [each.name for each in folder.iterdir()] == [downloaded.name]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
    return True
