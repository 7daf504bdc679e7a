"""A wrong, damaged or malicious file for each role: refused in a sentence that says what it is, and never run."""

from __future__ import annotations

import collections
import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from wham_blender import smpl_file, weights
from wham_blender.body.body import Body
from wham_blender.models import vit
from wham_blender.models.hmr2 import HMR2
from wham_blender.models.vitpose import ViTPose
from wham_blender.models.wham import WHAM, WhamFrames
from wham_blender.pipeline import checkpoints
from wham_blender.pipeline.people import vitpose_stage
from wham_blender.pipeline.pose import hmr2_features, wham_weights
from wham_blender.weights import WeightsError
from wham_blender.weights.library import gender_of

Arrays = dict[str, np.ndarray]


class Evil:
    """Would make a file, were it unpickled the usual way."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "DEPTH", 1)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of every role, networks of one block, as their authors save them."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    pose, features, wham = ViTPose(1).state_dict(), HMR2(1).state_dict(), WHAM().state_dict()
    for tensors in (pose, features):  # empty: only names and shapes matter here
        for name, tensor in tensors.items():
            tensors[name] = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    wham["integrator.layer1.weight"] = (
        2 * wham["integrator.layer1.weight"]
    )  # as training leaves it, beyond the first draw
    saved = {
        "vitpose.pth": {"meta": {"epoch": 210}, "state_dict": pose},
        "hmr2a.ckpt": {
            "state_dict": features | {"smpl.v_template": torch.zeros(3), "discriminator.net.weight": torch.zeros(2)},
            "hyper_parameters": collections.defaultdict(dict, {"lr": {"made": np.float64(1.5)}}),
        },
        "wham.pth.tar": {"epoch": 1, "model": wham | {"smpl.betas": torch.zeros(1, 10)}},
    }
    for name, content in saved.items():
        torch.save(content, folder / name)
    return {name: folder / name for name in saved}


LOADERS: dict[str, Callable[[Path], torch.nn.Module]] = {
    "vitpose.pth": vitpose_stage.load_vitpose,
    "hmr2a.ckpt": hmr2_features.load_hmr2,
    "wham.pth.tar": wham_weights.load_wham,
}


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("role", LOADERS)
def test_the_right_file_is_read_and_every_other_is_named(files: dict[str, Path], role: str) -> None:
    names = {"vitpose.pth": "ViTPose", "hmr2a.ckpt": "HMR2.0", "wham.pth.tar": "WHAM"}
    for name, path in files.items():
        if name == role:
            assert not LOADERS[role](path).training
        else:
            with pytest.raises(WeightsError, match=f"{name} is {names[name]}, not {names[role]}.*Choose "):
                LOADERS[role](path)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("role", LOADERS)
def test_damage_is_told(files: dict[str, Path], role: str, tmp_path: Path) -> None:
    load, good = LOADERS[role], files[role]
    whole = good.read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.pth cannot be read: it is incomplete.*Download it again"):
        load(tmp_path / "cut.pth")
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>")
    with pytest.raises(WeightsError, match=r"page\.pth is a web page"):
        load(tmp_path / "page.pth")
    with pytest.raises(WeightsError, match=r"none\.pth cannot be read"):
        load(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"empty\.pth holds no weights"):
        load(saved(tmp_path / "empty.pth", {"state_dict": {}}))
    tensors = checkpoints.read(good)
    lost = sorted(name for name in tensors if name.endswith("bias"))[0]
    del tensors[lost]
    with pytest.raises(WeightsError, match=f"less.pth is damaged, or another version.*{lost} is missing"):
        load(saved(tmp_path / "less.pth", {"state_dict": tensors}))
    with pytest.raises(WeightsError, match=r"more\.extra is unknown"):
        tensors = checkpoints.read(good) | {"more.extra": torch.zeros(1)}
        load(saved(tmp_path / "more.pth", {"state_dict": tensors}))


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("role", LOADERS)
@pytest.mark.parametrize("new_format", [True, False])
def test_a_malicious_checkpoint_runs_nothing(
    files: dict[str, Path], role: str, new_format: bool, tmp_path: Path
) -> None:
    made, path = tmp_path / "made", tmp_path / "evil.pth"
    content = {"state_dict": checkpoints.read(files[role]), "note": Evil(made)}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(WeightsError, match=r"evil\.pth is not safe: it asks for the code (posix|nt)\.mkdir"):
        LOADERS[role](path)
    assert not made.exists()


def test_another_width_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    tensors = checkpoints.read(files["vitpose.pth"])
    large = {
        name: value[:1024] if len(value.shape) and len(value) == 1280 else value for name, value in tensors.items()
    }
    with pytest.raises(WeightsError, match=r"large\.pth is ViTPose of another size \(width 1024, not 1280\)"):
        vitpose_stage.load_vitpose(saved(tmp_path / "large.pth", {"state_dict": large}))


def test_fewer_blocks_than_published_are_told(files: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match=r"backbone\.blocks\.1\.norm1\.weight is missing.*and \d+ more"):
        vitpose_stage.load_vitpose(files["vitpose.pth"])


def test_first_stage_weights_go_without_features(files: dict[str, Path], tmp_path: Path) -> None:
    whole = wham_weights.load_wham(files["wham.pth.tar"])
    assert whole.d_feat == 1024
    tensors = checkpoints.read(files["wham.pth.tar"])
    lacking = {name: value for name, value in tensors.items() if not name.startswith("integrator.")}
    undrawn = tensors | {"integrator.layer1.weight": tensors["integrator.layer1.weight"] / 2}  # as PyTorch drew it
    for number, each in enumerate((lacking, undrawn)):
        stage1 = wham_weights.load_wham(saved(tmp_path / f"{number}.pth.tar", {"model": each}))
        assert stage1.d_feat is None
        state = stage1.start(torch.zeros(1, 88), torch.zeros(1, 24, 6), torch.zeros(1, 6))
        inputs = torch.randn(1, 3, 37), torch.zeros(1, 3, 17, dtype=torch.bool), torch.zeros(1, 3, 6)
        with torch.inference_mode():
            with_features, _ = stage1(WhamFrames(*inputs, torch.randn(1, 3, 1024)), state)
            without, _ = whole(WhamFrames(*inputs), state)
        for ours, expected in zip(with_features, without, strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.fixture(scope="session")
def smpl() -> Arrays:
    """A small body in SMPL's format with WHAM's regressors: the open one's first vertices."""
    with np.load(weights.find("body").path) as archive:
        arrays = {name: archive[name].astype(np.float64) for name in (*smpl_file.KEYS, *smpl_file.REGRESSORS)}
    count = 60
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        arrays[name] = arrays[name][:count]
    rng = np.random.default_rng(0)
    for name, rows in {"J_regressor": 24, **smpl_file.REGRESSORS}.items():
        arrays[name] = rng.dirichlet(np.ones(count), rows)
    arrays["f"] = rng.integers(0, count, (20, 3)).astype(np.uint32)
    arrays["kintree_table"] = arrays["kintree_table"].astype(np.int64)
    return arrays


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that SMPL's pickles of 2015 were written with, for writing one; reading must do without it."""
    module = types.ModuleType("chumpy.ch")
    kind = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Ch = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return kind


@pytest.mark.parametrize("protocol", [2, 4])
def test_smpl_pickles_are_read_without_chumpy(
    smpl: Arrays, chumpy: type, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrapped(array: np.ndarray) -> object:
        value = chumpy()
        value.__dict__.update(x=array, _dirty_vars=set(), _depends_on_deps=None)
        return value

    content: dict[str, object] = dict(smpl) | {
        "J_regressor": scipy.sparse.csc_matrix(smpl["J_regressor"]), "v_template": wrapped(smpl["v_template"]),
        "shapedirs": wrapped(smpl["shapedirs"]), "bs_style": "lbs", "vert_sym_idxs": np.arange(60),
    }  # fmt: skip
    path = tmp_path / "SMPL_FEMALE.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    monkeypatch.undo()
    read = smpl_file.read(path)
    assert read.keys() == smpl.keys()
    for name, array in smpl.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)
    assert gender_of(path) == "female"


def test_a_malicious_body_runs_nothing(smpl: Arrays, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(dict(smpl) | {"evil": Evil(made)}))
    with pytest.raises(WeightsError, match=r"is not safe: it asks for the code (posix|nt)\.mkdir"):
        smpl_file.read(path)
    # Python's own way of making objects makes none here, whichever class it is asked for.
    path.write_bytes(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.")
    with pytest.raises(WeightsError, match=r"cannot be read: it is no SMPL file.*it holds no named arrays"):
        smpl_file.read(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("posedirs"), "lacks posedirs"),
        (
            lambda arrays: arrays.update(posedirs=arrays["posedirs"][..., :93]),
            r"posedirs is \(60, 3, 93\), not 60 x 3 x 207",
        ),
        (
            lambda arrays: arrays.update(J_regressor=np.zeros((55, 10475)), v_template=np.zeros((10475, 3))),
            r"is SMPL-X \(10475 vertices, 55 joints\), but WHAM needs SMPL",
        ),
        (lambda arrays: arrays.update(weights=arrays["weights"].astype("U4")), "weights does not hold numbers"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_other_bodies_are_told(
    smpl: Arrays,
    change: Callable[[Arrays], object],
    says: str,
    suffix: str,
    tmp_path: Path,
) -> None:
    arrays, path = dict(smpl), tmp_path / f"body{suffix}"
    change(arrays)
    if suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    else:
        path.write_bytes(pickle.dumps(arrays))
    with pytest.raises(WeightsError, match=rf"body{suffix} .*{says}.*Choose SMPL_NEUTRAL"):
        smpl_file.read(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=rf"body{suffix} cannot be read"):
        smpl_file.read(path)


def test_the_body_comes_from_its_file_or_from_whams(smpl: Arrays, files: dict[str, Path], tmp_path: Path) -> None:
    whole = Body(smpl)
    buffers = {f"smpl.{name}": value for name, value in whole.smpl.state_dict().items()}
    regressors = {f"smpl.{name}": torch.tensor(smpl[name], dtype=torch.float32) for name in smpl_file.REGRESSORS}
    network = checkpoints.read(files["wham.pth.tar"])
    wham = saved(tmp_path / "wham.pth.tar", {"model": network | buffers | regressors})
    bare = tmp_path / "SMPL_NEUTRAL.npz"
    np.savez(bare, **{name: smpl[name] for name in smpl_file.KEYS})  # type: ignore[arg-type]
    rows = []
    for name in smpl_file.REGRESSORS:
        rows.append(tmp_path / f"{name}.npy")
        np.save(rows[-1], smpl[name])
    wham_weights.load_wham(wham)
    poses, betas = torch.linalg.qr(torch.randn(2, 24, 3, 3))[0], torch.randn(2, 10)
    expected = whole.landmarks(poses, betas)
    for body in (
        wham_weights.load_body(wham=wham),
        wham_weights.load_body(bare, wham),
        wham_weights.load_body(bare, regressors=rows),
    ):
        torch.testing.assert_close(body.landmarks(poses, betas), expected, rtol=0, atol=1e-5)
    with pytest.raises(
        WeightsError, match=r"SMPL_NEUTRAL\.npz lacks WHAM's joint regressors .*Choose a WHAM checkpoint"
    ):
        wham_weights.load_body(bare)
    with pytest.raises(WeightsError, match=r"The body in wham\.pth\.tar is no SMPL body: it lacks v_template"):
        wham_weights.load_body(wham=files["wham.pth.tar"])
    np.save(rows[0], smpl["J_regressor"])
    with pytest.raises(WeightsError, match=r"J_regressor_wham\.npy is \(24, 60\), not 31 x 60"):
        wham_weights.load_body(bare, regressors=rows)
