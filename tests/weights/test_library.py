"""Files are known by what they hold, nothing in them runs, and the library notices when they change."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from ultralytics.nn.tasks import ClassificationModel, DetectionModel

from wham_blender import limits, weights
from wham_blender.models.wham import WHAM
from wham_blender.weights import WeightsError, contents
from wham_blender.weights.library import Library


def tensor(*shape: int) -> torch.Tensor:
    return torch.zeros(1).expand(shape)


def vit(width: int = 1280) -> dict[str, torch.Tensor]:
    return {"backbone.patch_embed.proj.weight": tensor(width, 3, 16, 16)}


def yolo(kind: type = DetectionModel, config: str = "yolov8n.yaml", first: str = "person") -> dict[str, Any]:
    model = kind(config, verbose=False)
    model.names = {0: first, 1: "bicycle"}
    return {"epoch": 1, "model": model.half(), "ema": None}


def body(joints: int = 24) -> dict[str, Any]:
    shapes = {"v_template": (60, 3), "shapedirs": (60, 3, 10), "posedirs": (60, 3, 9), "weights": (60, joints)}
    arrays: dict[str, Any] = {name: np.zeros(shape) for name, shape in shapes.items()}
    return arrays | {
        "J_regressor": scipy.sparse.csc_matrix((joints, 60)),
        "kintree_table": np.zeros((2, joints)),
        "f": np.zeros((9, 3), np.uint32),
    }


class Evil:
    """Makes a file when a pickle of it is read the usual way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def write(path: Path, what: Any, legacy: bool = False) -> Path:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(what, protocol=2))
    elif path.suffix == ".npz":
        dense = {name: getattr(array, "toarray", lambda array=array: array)() for name, array in what.items()}
        np.savez(path, allow_pickle=False, **dense)
    else:
        torch.save(what, path, _use_new_zipfile_serialization=not legacy)
    return path


UNSAFE = f"not safe (it asks for the code {os.name}.system, and nothing of it was run)"
CASES: dict[str, tuple[str, Any, str | None, str]] = {
    "yolo": ("a.pt", lambda: yolo(), "yolo", "YOLO"),
    "yolo that classifies": ("a.pt", lambda: yolo(ClassificationModel, "yolov8n-cls.yaml"), None, "not find boxes"),
    "yolo without people": ("a.pt", lambda: yolo(first="car"), None, "does not know people"),
    "vitpose": (
        "a.pth", lambda: {"state_dict": vit() | {"keypoint_head.final_layer.weight": tensor(17, 256, 1, 1)}},
        "vitpose", "ViTPose",
    ),
    "a smaller vitpose": (
        "a.pth", lambda: {"state_dict": vit(768) | {"keypoint_head.final_layer.weight": tensor(17, 256, 1, 1)}},
        None, "width 768, not 1280",
    ),
    "hmr2": (
        "a.ckpt", lambda: {"state_dict": OrderedDict(vit() | {"smpl_head.decpose.weight": tensor(144, 1024)})},
        "hmr2", "HMR2.0",
    ),
    "wham": ("a.tar", lambda: {"epoch": 3, "model": WHAM(64, 1, 1024).state_dict()}, "wham", "WHAM"),
    "wham for other features": ("a.tar", lambda: {"model": WHAM(64, 1, 256).state_dict()}, None, "width 256, not 1024"),
    "smpl": ("a.pkl", body, "smpl", "SMPL"),
    "smpl of arrays": ("a.npz", body, "smpl", "SMPL"),
    "smpl-x": ("a.pkl", lambda: body(55), None, "SMPL-X, not SMPL"),
    "smpl-h of arrays": ("a.npz", lambda: body(52), None, "SMPL+H, not SMPL"),
    "another network": ("a.pth", lambda: {"state_dict": {"fc.weight": tensor(3, 4)}}, None, "does not know"),
    "a list": ("a.pth", lambda: [1, 2], None, "another kind"),
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["new", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_a_file_is_known_by_its_content(case: str, legacy: bool, tmp_path: Path) -> None:
    name, make, role, words = CASES[case]
    if legacy and name.endswith((".pkl", ".npz")):
        pytest.skip("not PyTorch's")
    found = contents.recognise(write(tmp_path / name, make(), legacy))
    assert found.role == role
    assert words in found.description


@pytest.mark.parametrize("name", ["a.pkl", "a.pt"])
def test_nothing_in_a_file_runs(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, {"state_dict": {"a": Evil(tmp_path / "ran")}, "b": Evil(tmp_path / "ran")})
    assert contents.recognise(path) == contents.Contents(None, UNSAFE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("case", "name", "legacy"), [("smpl", "a.pkl", False), ("wham", "a.tar", False), ("hmr2", "a.ckpt", True)]
)
def test_what_is_right_but_for_a_line_of_code_is_refused(
    case: str, name: str, legacy: bool, library: Library, tmp_path: Path
) -> None:
    path = write(tmp_path / name, CASES[case][1]() | {"evil": Evil(tmp_path / "ran")}, legacy)
    with pytest.raises(WeightsError, match=re.escape(f"it seems to be {UNSAFE}.")):
        library.choose(path, case)
    assert library.search(tmp_path) == []
    assert not (tmp_path / "ran").exists()


def test_what_is_no_weight_file(tmp_path: Path) -> None:
    def recognise(content: bytes, name: str = "a.pth") -> str:
        (tmp_path / name).write_bytes(content)
        return contents.recognise(tmp_path / name).description

    whole = write(tmp_path / "b.pth", {"state_dict": vit()}).read_bytes()
    assert "cut off" in recognise(whole[: len(whole) // 2])
    assert "empty" in recognise(b"")
    assert "a web page" in recognise(b"\n <!DOCTYPE html><html><body>Quota exceeded")
    assert "another kind" in recognise(os.urandom(10_000))
    assert "cannot be opened" in contents.recognise(tmp_path / "none").description
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "another kind" in contents.recognise(tmp_path / "a.zip").description


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def test_a_folder_gives_what_it_has_whatever_the_names(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    (folder / "deep" / "er").mkdir(parents=True)
    write(folder / "x1.bin", CASES["hmr2"][1]())
    write(folder / "deep" / "er" / "final (2).pth", CASES["vitpose"][1]())
    write(folder / "deep" / "best.pt", yolo())
    write(folder / "deep" / "again.pt", yolo())
    (folder / "movie.mp4").write_bytes(b"x")
    assert sorted(entry.role for entry in library.search(folder)) == ["hmr2", "vitpose", "yolo"]
    assert library.path("yolo") == folder / "deep" / "again.pt"
    assert [entry.role for entry in library.missing()] == ["wham"]
    assert library.search(folder) == []
    library.forget("yolo")
    assert library.path("yolo") is None


@pytest.mark.skipif(sys.platform == "win32", reason="makes links and named pipes")
def test_a_search_leaves_out_what_is_no_file(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    (folder / "deep").mkdir(parents=True)
    whole = write(folder / "deep" / "z.pt", yolo())
    (folder / "deep" / "again").symlink_to(folder, target_is_directory=True)
    (folder / "a.pt").symlink_to(folder / "a.pt")
    (folder / "b.pt").mkdir()
    (folder / "c.pt").symlink_to("/dev/zero")
    os.mkfifo(folder / "d.pt")
    shutil.copy(os.fsencode(whole), os.fsencode(folder) + b"/\xff.pt")  # no text: library.json could not be read again
    looked: list[tuple[str, int, int]] = []

    def look(path: Path, done: int, total: int) -> contents.Contents:
        looked.append((path.name, done, total))
        return contents.recognise(path)

    assert [entry.role for entry in library.search(folder, look)] == ["yolo"]
    assert library.path("yolo") == whole
    assert looked == [("\udcff.pt", 0, 2), ("z.pt", 1, 2)]


def test_a_search_is_bounded(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        (tmp_path / "many" / str(number)).mkdir(parents=True)  # also without any file
    monkeypatch.setattr(limits, "SEARCHED_FILES", 10)
    with pytest.raises(WeightsError, match="holds too many files"):
        library.search(tmp_path / "many")


def test_a_folder_that_cannot_be_searched(library: Library, tmp_path: Path) -> None:
    for place in (tmp_path / "none", write(tmp_path / "a.pkl", 1)):
        with pytest.raises(WeightsError, match="cannot be read: N"):
            library.search(place)


def test_a_search_that_is_ended_keeps_what_it_had(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "a.pt", yolo())
    (tmp_path / "b.pt").touch()

    def look(path: Path, done: int, total: int) -> contents.Contents:
        if done:
            raise KeyboardInterrupt
        return contents.recognise(path)

    with pytest.raises(KeyboardInterrupt):
        library.search(tmp_path, look)
    assert library.path("yolo") == tmp_path / "a.pt"


def test_a_wrong_file_for_a_role_is_told_what_it_is(library: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", CASES["wham"][1]())
    with pytest.raises(WeightsError, match=r"x\.tar is not HMR2\.0: it seems to be WHAM\. Choose hmr2a\.ckpt\."):
        library.choose(path, "hmr2")
    with pytest.raises(WeightsError, match="SMPL-X, not SMPL"):
        library.choose(write(tmp_path / "x.npz", body(55)), "smpl")
    assert library.choose(path).role == "wham"


def test_the_name_says_of_a_body_whose_it_is(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "female").mkdir(parents=True)
    male = write(folder / "basicmodel_m_lbs_10_207_0_v1.1.0.pkl", body())
    neutral = write(folder / "SMPL_NEUTRAL.npz", body())
    female = write(folder / "female" / "model.pkl", body())
    assert {entry.role for entry in library.search(folder)} == {"smpl", "smpl_male", "smpl_female"}
    assert [library.path(role) for role in ("smpl", "smpl_male", "smpl_female")] == [neutral, male, female]
    with pytest.raises(WeightsError, match=r"basicmodel_m\S+ is not SMPL: it seems to be SMPL, male\."):
        library.choose(male, "smpl")
    mine = write(tmp_path / "mine.pkl", body())
    assert library.choose(mine, "smpl_female").role == "smpl_female"
    assert library.choose(mine).role == "smpl"


def test_a_changed_file_is_not_used(library: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", CASES["wham"][1]())
    library.choose(path, "wham")
    first = library.file("wham")
    assert Library(library.folder).file("wham") == first
    assert first.licence == "MIT"
    shutil.copy(write(tmp_path / "y.tar", {"model": WHAM(32, 1, 1024).state_dict()}), path)
    assert library.path("wham") is None
    with pytest.raises(WeightsError, match=r"Choose wham_vit_bedlam_w_3dpw\.pth\.tar in the add-on's preferences"):
        library.file("wham")
    library.choose(path, "wham")
    assert library.file("wham").sha256 != first.sha256
    path.unlink()
    assert library.path("wham") is None


def test_an_exchanged_file_of_the_same_size_and_time_has_another_hash(library: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", CASES["wham"][1]())
    library.choose(path, "wham")
    first, before = library.file("wham"), path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert library.path("wham") == path  # which is quick, and cannot notice it
    assert library.file("wham").sha256 not in ("", first.sha256)


def test_a_library_of_an_older_version_still_loads(library: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", CASES["wham"][1]())
    library.choose(path, "wham")
    listed = library.folder / "library.json"
    kept = json.loads(listed.read_text("utf-8"))
    assert "sha256" not in kept["wham"]
    kept["wham"]["sha256"] = "0" * 64
    listed.write_text(json.dumps(kept), "utf-8")
    assert library.path("wham") == path
    assert library.file("wham").sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_damaged_or_unwritable_library_is_reported(library: Library, tmp_path: Path) -> None:
    library.folder.mkdir()
    (library.folder / "library.json").write_text('{"yolo": 3}')
    assert len(library.missing()) == 4
    (tmp_path / "file").touch()
    path = write(tmp_path / "x.pkl", body())
    with pytest.raises(WeightsError, match="Cannot write to"):
        Library(tmp_path / "file" / "in it").choose(path)


def test_the_list_says_of_each_file_what_people_have_to_know() -> None:
    entries = weights.published()
    roles = ["yolo", "vitpose", "hmr2", "wham", "smpl", "smpl_male", "smpl_female"]
    assert [entry.role for entry in entries] == roles
    for entry in entries:
        assert entry.page.startswith("https://")
        assert entry.address.startswith("https://")
        assert entry.licence
        assert entry.allows.endswith(".")
        assert not entry.sha256 or len(bytes.fromhex(entry.sha256)) == 32


def test_a_file_inside_the_librarys_folder_moves_with_it(tmp_path):
    library = Library(tmp_path / "weights")
    library.folder.mkdir()
    state = vit() | {"keypoint_head.final_layer.weight": tensor(17, 256, 1, 1)}
    library.choose(write(library.folder / "vit.pth", {"state_dict": state}))
    elsewhere = library.choose(write(tmp_path / "body.pkl", body()))
    library.folder.rename(tmp_path / "moved")
    moved = Library(tmp_path / "moved")
    assert moved.path("vitpose") == tmp_path / "moved" / "vit.pth"
    assert moved.path(elsewhere.role) == tmp_path / "body.pkl"
