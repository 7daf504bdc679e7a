"""Where there can be no window, the tests of it are skipped with a reason that says what is missing."""

import os
import shutil
import subprocess
import sys

import debian
import pytest

import build


@pytest.fixture(autouse=True)
def _bare_linux(monkeypatch, tmp_path):
    """A Linux where nothing was made yet, seen by root."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(build, "environments_folder", lambda: tmp_path / "envs")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def test_who_is_not_root_is_told(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(debian.Unavailable, match="needs root"):
        debian.root()


def test_a_linux_of_other_packages_is_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(debian.Unavailable, match="no apt-get"):
        debian.root()


def test_a_failed_making_is_told_and_made_again(monkeypatch, tmp_path):
    commands = []

    def run(command, **_):
        commands.append(command)
        failed = command[0] == "mmdebstrap"
        said = "http://mirror/debian\n" if "indextargets" in command else "E: no such suite\n"
        return subprocess.CompletedProcess(command, int(failed), said, "")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        with pytest.raises(debian.Unavailable, match=r"mmdebstrap .* failed: E: no such suite"):
            debian.root()
    assert [command[-1] for command in commands if command[0] == "mmdebstrap"] == ["http://mirror/debian"] * 2
    assert not list(tmp_path.rglob("complete"))
