"""Whatever is chosen as weights is looked into within seconds and bounded memory, and damage is described."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from wham_blender.weights import contents

PACKAGE = Path(__file__).parents[2]
DAMAGED = "a file of another kind, or a damaged one"
CUT_OFF = "a file that was cut off while it was copied or downloaded"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), content)
    return path


def with_content(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sparse(path: Path, start: bytes) -> Path:
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(40 << 30)
    return path


def named_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def many_members(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:05}.npy", b"")
    return path


def huge_arrays(path: Path) -> Path:
    """Arrays of terabytes by their headers, which are all that is read."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f"):
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array_header_1_0(
                    stream, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
                )
        with archive.open("kintree_table.npy", "w") as stream:
            np.save(stream, np.zeros((2, 55)))
        with archive.open("unasked.npy", "w") as stream:
            for _ in range(100):
                stream.write(bytes(1 << 20))
    return path


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


HOSTILE: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "a memo index": ("a.pkl", lambda path: with_content(path, b"]r\xff\xff\xff\xff."), "another kind"),
    "a small data.pkl that unpacks to 40 MB": (
        "a.pt", lambda path: zipped(path, a__data_pkl=b"(" * 40_000_000), DAMAGED,
    ),
    "a data.pkl of a million objects": ("b.pt", lambda path: zipped(path, a__data_pkl=b"\x8f\x94" * 10**6), DAMAGED),
    "two descriptions": ("c.pt", lambda path: zipped(path, a__data_pkl=b"N.", b__data_pkl=b"N."), DAMAGED),
    "a device": ("d.pt", lambda path: linked(path, Path("/dev/zero")), "it is not a regular file"),
    "a named pipe": ("e.pt", named_pipe, "it is not a regular file"),
    "a folder": ("f.pt", folder, "cannot be opened"),
    "40 GB of zeros": ("g.pt", lambda path: sparse(path, b"\x80\x02"), DAMAGED),
    "a line of 40 GB": ("h.pkl", lambda path: sparse(path, b"S'"), DAMAGED),
    "a value of 40 GB": ("i.pkl", lambda path: sparse(path, b"\x8e" + (39 << 30).to_bytes(8, "little")), DAMAGED),
    "an archive of 40 GB": ("j.pt", lambda path: sparse(path, b"PK\x03\x04"), CUT_OFF),
    "60,000 members": ("k.pt", lambda path: many_members(path, 60_000), DAMAGED),
    "60,000 arrays": ("l.npz", lambda path: many_members(path, 60_000), "no body model"),
    "arrays of terabytes": ("m.npz", huge_arrays, "SMPL-X"),
    "a link to itself": ("n.pt", lambda path: linked(path, path), "cannot be opened"),
}  # fmt: skip

LOOK = """
import resource, sys, time
from pathlib import Path
from wham_blender.weights import contents
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
began = time.thread_time()
print(contents.recognise(Path(sys.argv[1])).description)
print(time.thread_time() - began)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="makes devices, pipes and sparse files, and limits memory")
@pytest.mark.parametrize("case", HOSTILE)
def test_no_file_takes_long_or_much_memory(case: str, tmp_path: Path) -> None:
    name, make, description = HOSTILE[case]
    path = make(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)], cwd=PACKAGE, capture_output=True, text=True, timeout=60, check=True
    )
    said, seconds, kilobytes = done.stdout.splitlines()
    assert description in said
    assert float(seconds) < 5
    assert int(kilobytes) < 400_000


def test_an_honest_file_is_known_at_once(tmp_path: Path) -> None:
    """YOLOv8x's size: 60,000 operations; and 700 tensors of a large transformer."""
    tensors = {f"backbone.blocks.{row}.weight": torch.zeros(1).expand(1280, 1280) for row in range(700)}
    torch.save({"state_dict": tensors, "note": [float(row) for row in range(20_000)]}, tmp_path / "a.pth")
    began = time.thread_time()
    assert "does not know" in contents.recognise(tmp_path / "a.pth").description
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    "value",
    [
        {"state_dict": {"motion_encoder.regressor.rnn.weight_hh_l0": 1}},
        dict.fromkeys(("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"), 0),
        {"model": {1: 2, b"a": 3, None: 4}},
        [1, [2]], 7, "text", None,
    ],
)  # fmt: skip
def test_pickles_of_other_things_are_described(value: object, tmp_path: Path) -> None:
    found = contents.recognise(with_content(tmp_path / "a.pkl", pickle.dumps(value)))
    assert found.role is None
    assert found.description


def test_a_wrapping_within_itself_ends(tmp_path: Path) -> None:
    """A parameter whose tensor is the parameter, an array of chumpy whose value is the array."""
    keys = b"".join(
        b"X" + len(key).to_bytes(4, "little") + key + b"h\x00"
        for key in (b"v_template", b"shapedirs", b"posedirs", b"J_regressor", b"weights", b"kintree_table", b"f")
    )
    path = with_content(tmp_path / "a.pkl", b"cchumpy.ch\nCh\n)\x81q\x00}U\x01xh\x00sb0}(" + keys + b"u.")
    assert contents.recognise(path).description == "a body model of 0 joints, not SMPL"
