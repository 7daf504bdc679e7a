"""What the lock's tool adds up: each system's own wheels, and only where a package is for that system."""

import pytest

from tools import lock

LOCK = """# made by a tool
torch==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb \\
    --hash=sha256:cc \\
    --hash=sha256:dd
nvidia-cublas==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:ee
tiny==3.0 \\
    --hash=sha256:ff
"""
FILES = {
    "torch": [
        ("torch-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "aa", 500e6),
        ("torch-1.0-cp311-cp311-manylinux_2_28_aarch64.whl", "bb", 400e6),
        ("torch-1.0-cp311-cp311-win_amd64.whl", "cc", 100e6),
        ("torch-1.0-cp311-cp311-macosx_14_0_arm64.whl", "dd", 90e6),
        ("torch-2.0-cp311-cp311-win_amd64.whl", "other", 900e6),
    ],
    "nvidia-cublas": [("nvidia_cublas-2.0-py3-none-manylinux_2_27_x86_64.manylinux2014_aarch64.whl", "ee", 300e6)],
    "tiny": [("tiny-3.0-py2.py3-none-any.whl", "ff", 1e6), ("tiny-3.0.tar.gz", "ff", 50e6)],
}


@pytest.fixture(autouse=True)
def _index(monkeypatch):
    monkeypatch.setattr(
        lock, "_files", lambda name: [{"filename": f, "hashes": {"sha256": h}, "size": s} for f, h, s in FILES[name]]
    )


def test_sizes_are_of_each_systems_wheels():
    assert lock.sizes(LOCK, ["tiny"]) == {
        "linux-x86_64": {"torch": 800, "others": 0, "full": 1},
        "linux-arm64": {"torch": 700, "others": 0, "full": 1},
        "win32-x86_64": {"torch": 100, "others": 0, "full": 1},
        "darwin-arm64": {"torch": 90, "others": 0, "full": 1},
    }
    assert lock.sizes(LOCK, [])["darwin-arm64"] == {"torch": 90, "others": 1, "full": 0}


def test_a_package_without_a_wheel_is_told():
    with pytest.raises(SystemExit, match=r"torch 1\.0 has no wheel for win32-x86_64"):
        lock.sizes(LOCK.replace("    --hash=sha256:cc \\\n", ""), [])
