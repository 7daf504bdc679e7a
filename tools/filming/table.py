"""The films that ``build.py bench follow`` measures, and their making: motion that nothing was trained on.

Two kinds have no held-out clip and are named so. Films whose names begin with ``train_`` are of motion that is trained
on: for trying constants and comparing ways, never for figures of accuracy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tools.training import mocap, painter
from wham_blender import weights

from . import cameras, film, motion, place, truth
from .cameras import Shot
from .film import Crew, Film
from .motion import Source

SMALL, HALF, HD, FULL = (400, 300), (960, 540), (1280, 720), (1920, 1080)
TALL, TALL_HD = (540, 960), (720, 1280)
FOLLOWED, SLOW = "followed walk", "slow motion"
COUPLE, TRAINING_COUPLE = ("salsa_12", "salsa_27"), ("salsa_01", "salsa_16")

FILMS = [
    Film("breakdance_static", "breakdance", ("85_03",), 13, 2.6, Shot("static", HALF, -70), seed=1),
    Film("breakdance_pan", "breakdance", ("85_03",), 5, 2.6, Shot("pan", TALL_HD, 160, fill=0.5), seed=2),
    Film("breakdance_hand", "breakdance", ("85_03",), 20, 3, Shot("handheld", (640, 480), 40, 1.6), "lawn", seed=3),
    Film("kick_static", "kick", ("martial_07",), 2.6, 2.4, Shot("static", HD, -20), seed=4),
    Film("kick_small", "kick", ("martial_07",), 5.6, 2.4, Shot("handheld", SMALL, 80), seed=5),
    Film("kick_tall", "kick", ("martial_07",), 8.6, 2.2, Shot("pan", TALL, 200, fill=0.5), "lawn", seed=6),
    Film("couple_static", "couple", COUPLE, 3, 2.6, Shot("static", HD, -60), seed=7),
    Film("couple_hand", "couple", COUPLE, 7.6, 2.6, Shot("handheld", HALF, 30), seed=8),
    Film("couple_tall", "couple", COUPLE, 15.5, 2.6, Shot("pan", TALL_HD, 120, fill=0.5), "lawn", seed=9),
    Film("couple_above", "couple", COUPLE, 20, 2.6, Shot("static", HALF, 200, 2.4), seed=10),
    Film("jump_turn_static", "jump", ("91_53",), 1.6, 2.4, Shot("static", HALF, -100), seed=11),
    Film("jump_turn_hand", "jump", ("91_53",), 1.6, 2.4, Shot("handheld", TALL, 30, fill=0.5), "lawn", seed=12),
    Film("jump_static", "jump", ("jumping_3",), 0.8, 2.4, Shot("static", HD, 20), seed=13),
    Film("jump_pan", "jump", ("jumping_3",), 0.8, 2.4, Shot("pan", SMALL, 110, 1.0), seed=14),
    Film("stand_up", "floor", ("Sitting_Exit",), 0, 1.0, Shot("static", HALF, -50), seed=15),
    Film("kneel_static", "floor", ("Fixing_Kneeling",), 3, 2.2, Shot("static", HALF, -40), seed=16),
    Film("kneel_hand", "floor", ("Fixing_Kneeling",), 0, 2.6, Shot("handheld", TALL_HD, -120, 1.6, 0.5), seed=17),
    Film("run_across", "run", ("running_4",), 0, 1.4, Shot("static", HD, 150), "lawn", seed=18),
    Film("run_pan", "run", ("running_4",), 0, 1.4, Shot("pan", HALF, 60), "lawn", seed=19),
    Film("run_beside", "run", ("running_4",), 0, 1.4, Shot("beside", HALF, 80), "lawn", seed=20),
    Film("slow_run", SLOW, ("running_4",), 0, 1.4, Shot("pan", HALF, 100), "lawn", slowness=2.0, seed=21),
    Film("slow_kick", SLOW, ("martial_07",), 3.0, 1.2, Shot("static", HALF, 60), slowness=2.5, seed=22),
    Film("slow_jump", SLOW, ("jumping_3",), 1.2, 0.9, Shot("handheld", TALL, 60, fill=0.5), slowness=4.0, seed=23),
    Film("dance_static", "dance", ("indian_13",), 5.6, 2.6, Shot("static", HALF, -70), seed=24),
    Film("dance_tall", "dance", ("indian_13",), 10, 2.6, Shot("handheld", TALL_HD, -110, fill=0.5), seed=25),
    Film("walk_static", "walk", ("38_01",), 0, 2.6, Shot("static", FULL, 60), seed=26),
    Film("walk_hand", "walk", ("49_01",), 0, 3, Shot("handheld", HALF, 20), "lawn", seed=27),
    Film("beside_38", FOLLOWED, ("38_02",), 0, 3, Shot("beside", HD, 80), "lawn", seed=28),
    Film("beside_49", FOLLOWED, ("49_01",), 1, 4, Shot("beside", HALF, -70), seed=29),
    Film("behind_55", FOLLOWED, ("55_04",), 0, 3.1, Shot("behind", TALL_HD, 175, fill=0.5), "lawn", seed=30),
    Film("behind_49", FOLLOWED, ("49_01",), 0.5, 4, Shot("behind", HALF, 165), seed=31),
    Film("soccer_static", "sport", ("soccer_4",), 1, 2.4, Shot("static", HD, 100), "lawn", seed=32),
    Film("punch_hand", "sport", ("Punch_Cross",), 0, 1.0, Shot("handheld", HALF, -60), seed=33),
    Film("signal_tall", "sport", ("basketball_signal_2",), 13.5, 2.4, Shot("handheld", TALL, -80, fill=0.5), seed=34),
    Film("flip_static", "upside down (trained)", ("85_14",), 9.5, 2.6, Shot("static", HALF, -60), seed=35),
    Film("fall_hand", "fall (trained)", ("Death01",), 0, 2.3, Shot("handheld", HALF, -40), seed=36),
]  # fmt: skip
TRAINING_FILMS = [
    Film("train_couple_hand", "couple", TRAINING_COUPLE, 19, 2.6, Shot("handheld", HALF, -50), seed=101),
    Film("train_run_static", "run", ("running_1",), 0, 1.4, Shot("static", HD, 70), "lawn", seed=102),
    Film("train_run_pan", "run", ("running_2",), 0, 1.5, Shot("pan", HALF, 120), "lawn", seed=103),
    Film("train_jump", "jump", ("jumping_1",), 0.8, 2.4, Shot("static", HALF, -30), seed=104),
    Film("train_jump_turn", "jump", ("91_49",), 0.6, 2.4, Shot("handheld", TALL, 60, fill=0.5), seed=105),
    Film("train_flip", "breakdance", ("85_14",), 9, 2.6, Shot("handheld", HALF, 120), "lawn", seed=106),
    Film("train_floor", "breakdance", ("85_12",), 19, 2.6, Shot("static", TALL_HD, -40, fill=0.4), seed=107),
    Film("train_kick", "kick", ("martial_04",), 2.4, 2.4, Shot("handheld", HALF, -20), seed=108),
    Film("train_squat", "floor", ("jumping_1t",), 3.6, 2.6, Shot("static", HALF, 40), seed=109),
    Film("train_sit", "floor", ("Sitting_Enter",), 0, 1.3, Shot("static", HALF, -60), seed=110),
    Film("train_beside", FOLLOWED, ("08_01",), 0, 2.3, Shot("beside", HD, 85), "lawn", seed=111),
    Film("train_behind", FOLLOWED, ("walking_20",), 0, 4, Shot("behind", TALL_HD, 170, fill=0.5), "lawn", seed=112),
    Film("train_walk_static", "walk", ("35_01",), 0, 2.8, Shot("static", HALF, 50), seed=113),
    Film("train_slow_run", SLOW, ("running_3",), 0, 1.3, Shot("pan", HALF, 80), "lawn", slowness=2.5, seed=114),
    Film("train_dance", "dance", ("indian_08",), 8, 2.6, Shot("handheld", HALF, -70), seed=115),
    Film("train_couple_cross", "couple", TRAINING_COUPLE, 26, 2.6, Shot("static", HD, 30), seed=116),
]  # fmt: skip
QUICK = ("breakdance_static", "kick_small", "couple_hand", "run_pan", "beside_38", "kneel_static")


def make_missing(films: Iterable[Film], crew: Crew, folder: Path) -> list[Path]:
    """Paths of the films in a folder; those that are missing or were made otherwise are made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for each in films:
        path, key = folder / f"{each.name}.mp4", key_of(each, crew)
        if not path.exists() or _known_key(path.with_suffix(".npz")) != key:
            path.with_suffix(".npz").unlink(missing_ok=True)
            film.make(each, crew, path, key)
            print(f"Made {path}.", flush=True)
        paths.append(path)
    return paths


def key_of(made: Film, crew: Crew) -> str:
    """Hash of everything that a film is made of."""
    modules = (cameras, film, motion, place, truth, mocap, painter)
    files = [Path(module.__file__ or "") for module in modules]
    files += [Source.of(take, crew.folders).path for take in made.takes]
    content = b"".join(path.read_bytes() for path in [*files, weights.find("body").path])
    return hashlib.sha256(content + repr(made).encode()).hexdigest()


def _known_key(path: Path) -> str:
    """The key in a file of truth; empty if there is no such file."""
    if not path.exists():
        return ""
    with np.load(path, allow_pickle=False) as archive:
        return str(archive["key"])
