"""Speed of decoding: the clip reader (PyAV) beside OpenCV's VideoCapture, for test clips and clips in 4K.

``build.py bench decode``: each decoder reads the frames that the networks process as RGB pictures, the two in
turn; medians of some rounds. Where other programs run, the processor time is more reliable than wall time. The clips in
4K are made of a test clip; the one in HLG is tone-mapped by the clip reader alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from tests.bench.report import Cell, json_path, report
from tests.clips import make
from wham_blender.pipeline.clip import video_reader

CLIPS = Path(__file__).parents[1] / "clips"
FRAMES = 40  # of the clips in 4K
SIZE = 3840, 2160
ROUNDS = 5


def pictures(transfer: int | None = None) -> Iterator[np.ndarray]:
    """Frames in 4K, (2160, 3840, 3) RGB; in HDR with that transfer."""
    for frame in islice(video_reader.read_frames(CLIPS / "walk_and_jump.mp4"), FRAMES):
        assert frame.image is not None
        yield cv2.resize(make.hdr(frame.image, transfer) if transfer else frame.image, SIZE)


def clips(folder: Path) -> dict[str, Path]:
    """The clips by what they are."""
    hevc = {"preset": "ultrafast", "crf": "22", "x265-params": "log-level=none"}
    return {
        "1768 x 994, H.264": CLIPS / "walk_and_jump.mp4",
        "1080 x 1920, H.264": CLIPS / "balance_cam01.mp4",
        "4K, H.264": make.write(
            folder / "h264.mp4", pictures=pictures(), matrix=make.MATRICES["bt709"],
            options={"preset": "veryfast", "crf": "20"},
        ),
        "4K, HEVC 10 bits": make.write(
            folder / "hevc.mp4", "libx265", "yuv420p10le", pictures=pictures(), matrix=make.MATRICES["bt709"],
            options=hevc,
        ),
        "4K, HEVC HLG": make.write(
            folder / "hlg.mp4", "libx265", "yuv420p10le", pictures=pictures(make.HLG),
            matrix=make.MATRICES["bt2020nc"], primaries=make.BT2020, transfer=make.HLG, options=hevc,
        ),
    }  # fmt: skip


def by_opencv(clip: Path, wanted: set[int]) -> None:
    """Decode the clip with OpenCV, and convert the frames with these numbers."""
    capture, number = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG), 0
    while capture.grab():
        number += 1
        if number in wanted:
            cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def by_reader(clip: Path) -> set[int]:
    """Decode the clip with its reader; returns the numbers of the frames with pictures."""
    return {frame.number for frame in video_reader.read_frames(clip) if frame.image is not None}


def milliseconds(decode: Callable[[], object], pictures: int) -> tuple[float, float]:
    """Wall time and processor time a picture."""
    wall, processor = time.perf_counter(), time.process_time()
    decode()
    return 1000 * (time.perf_counter() - wall) / pictures, 1000 * (time.process_time() - processor) / pictures


def main() -> None:
    """Measure and print the table."""
    path = json_path(__doc__)
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, clip in clips(Path(folder)).items():
            wanted = by_reader(clip)
            decoders: dict[str, Callable[[], object]] = {
                "OpenCV": partial(by_opencv, clip, wanted),
                "PyAV": partial(by_reader, clip),
            }
            rounds = [
                {decoder: milliseconds(decode, len(wanted)) for decoder, decode in decoders.items()}
                for _ in range(ROUNDS)
            ]
            for decoder in decoders:
                wall, processor = map(statistics.median, zip(*(each[decoder] for each in rounds), strict=True))
                rows.append([name, decoder, 1000 / wall, wall, processor])
    columns = ["clip", "decoder", "frames a second", "wall ms", "processor ms"]
    report(f"Decoding to RGB pictures, {os.cpu_count()} processors", columns, rows, path)


if __name__ == "__main__":
    main()
