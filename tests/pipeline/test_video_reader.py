"""Decoding: which frames, at which times, which way up, in which colours; and what is refused."""

from __future__ import annotations

import errno
import gc
import os
import struct
import threading
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.clips import make
from wham_blender import limits
from wham_blender.pipeline.clip import container, pictures, video_reader
from wham_blender.pipeline.errors import PipelineError
from wham_blender.pipeline.people.tracking import DetectionRow
from wham_blender.pipeline.people.watch import process_clip

WriteClip = Callable[..., Path]


def looked_at(frames: list[video_reader.Frame]) -> list[int]:
    return [frame.number for frame in frames if frame.image is not None]


def error(image: np.ndarray | None, expected: np.ndarray) -> float:
    """Mean absolute difference of two pictures."""
    assert image is not None
    assert image.shape == expected.shape
    return float(np.abs(image.astype(int) - expected).mean())


def assert_shows_the_film(clip: Path, count: int = 12, tolerance: float = 3.5) -> None:
    """Frames 1..count of the film of make.picture, at 30 fps, and no frame missing."""
    frames = list(video_reader.read_frames(clip))
    assert [frame.number for frame in frames] == list(range(1, count + 1))
    assert not any(frame.damaged for frame in frames)
    assert np.allclose([frame.time for frame in frames], np.arange(count) / 30, atol=1e-3)
    assert max(error(frame.image, make.picture(frame.number)) for frame in frames) < tolerance
    assert missing(clip, frames) == 0


def missing(clip: Path, frames: list[video_reader.Frame], start: int = 1, end: int | None = None) -> int:
    """Frames that the header promises and the file does not give."""
    numbers, times = np.array([frame.number for frame in frames]), np.array([frame.time for frame in frames])
    return video_reader.probe(clip).missing_frames(start, end, numbers, times)


def refusal(clip: Path) -> PipelineError:
    """The error of a clip that the reader refuses."""
    with pytest.raises(PipelineError) as caught:
        list(video_reader.read_frames(clip))
    return caught.value


def with_packet(clip: Path, number: int, change: Callable[[bytes], bytes]) -> Path:
    """The clip with the content of one packet changed, beside it."""
    path = clip.with_stem("changed")
    with av.open(str(clip)) as old, av.open(str(path), "w") as output:
        video = old.streams.video[0]
        stream = output.add_stream_from_template(video)
        for index, packet in enumerate(old.demux(video)):
            if packet.dts is None:
                continue
            copy = av.Packet(change(bytes(packet)) if index == number else bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            output.mux(copy)
    return path


class TestFramesAndTimes:
    def test_every_frame_comes_once_in_order_with_its_own_picture(self, write_clip: WriteClip) -> None:
        frames = list(video_reader.read_frames(write_clip(frames=40)))
        assert [frame.number for frame in frames] == list(range(1, 41))
        assert np.allclose([frame.time for frame in frames], np.arange(40) / 30, atol=1e-3)
        brightness = [frame.image[:, 200:].mean() for frame in frames if frame.image is not None]
        assert np.allclose(brightness, 4 * np.arange(1, 41), atol=4)

    def test_a_range_keeps_the_clip_s_numbers_and_times(self, write_clip: WriteClip) -> None:
        frames = list(video_reader.read_frames(write_clip(frames=40), 11, 20))
        assert [frame.number for frame in frames] == list(range(11, 21))
        assert frames[0].time == pytest.approx(10 / 30, abs=1e-3)

    def test_sixty_frames_a_second_are_looked_at_thirty_times_and_at_the_end(self, write_clip: WriteClip) -> None:
        assert looked_at(list(video_reader.read_frames(write_clip(frames=40, fps=60)))) == [*range(1, 41, 2), 40]

    def test_the_last_frame_is_looked_at_though_the_header_names_another(self, tmp_path: Path) -> None:
        clip = make.write(tmp_path / "film.mkv", times=np.arange(12) / 60, fps=60)  # type: ignore[arg-type]
        assert video_reader.probe(clip).frames == 0
        assert looked_at(list(video_reader.read_frames(clip)))[-2:] == [11, 12]

    def test_a_jittering_clip_of_thirty_loses_no_frame(self, tmp_path: Path) -> None:
        jitter = np.random.default_rng(0).uniform(-0.007, 0.007, 90)
        images = [np.full((32, 48, 3), number, np.uint8) for number in range(90)]
        clip = make.write(tmp_path / "phone.mp4", pictures=images, times=list(0.1 + np.arange(90) / 30 + jitter))
        assert looked_at(list(video_reader.read_frames(clip))) == list(range(1, 91))

    def test_variable_frame_rate_is_looked_at_by_time(self, tmp_path: Path) -> None:
        times = [*np.arange(60) / 120, *(0.5 + np.arange(30) / 30)]
        images = [np.full((32, 48, 3), number, np.uint8) for number in range(90)]
        frames = list(video_reader.read_frames(make.write(tmp_path / "phone.mp4", pictures=images, times=times)))
        assert np.allclose([frame.time for frame in frames], times, atol=1e-4)
        seconds = np.array([frame.time for frame in frames if frame.image is not None])
        assert np.allclose(np.diff(seconds), 1 / 30, atol=1 / 120 + 1e-3)

    @pytest.mark.parametrize("stamp", [0.0, -1.0, None], ids=["zero", "negative", "none"])
    def test_a_clip_without_times_goes_by_its_frame_rate(self, stamp: float | None) -> None:
        clock = video_reader.Clock(25)
        assert np.allclose([clock.time_of(stamp) for _ in range(50)], np.arange(50) / 25)

    def test_a_stamp_that_repeats_the_one_before_brings_no_frame_onto_another(self) -> None:
        """Frames in a microsecond could not become keyframes: cut films came with the stamps 14, 14, 15 of 30."""
        clock = video_reader.Clock(30)
        stamps = [*range(15), *range(14, 26)]
        assert np.allclose([clock.time_of(1 + stamp / 30) for stamp in stamps], np.arange(27) / 30)

    def test_frames_that_are_close_keep_their_stamps(self) -> None:
        clock = video_reader.Clock(30)
        stamps = [0.0, 0.001, 0.04, 0.0401, 0.07]
        assert np.allclose([clock.time_of(stamp) for stamp in stamps], stamps)

    def test_times_begin_at_the_first_frame_and_fill_gaps(self) -> None:
        clock = video_reader.Clock(10)
        stamps = [None, 7.1, 7.2, None, 7.2, 7.5]
        assert [clock.time_of(stamp) for stamp in stamps] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])

    def test_the_frame_after_a_damaged_one_is_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clip = make.write(tmp_path / "film.mp4", fps=60)
        seen: list[object] = []
        convert = pictures.Converter.picture

        def picture(self: pictures.Converter, frame: av.VideoFrame) -> np.ndarray | None:
            seen.append(frame)
            return None if round(frame.time * 60) + 1 in {5, 12} else convert(self, frame)

        monkeypatch.setattr(pictures.Converter, "picture", picture)
        frames = list(video_reader.read_frames(clip))
        assert looked_at(frames) == [1, 3, 6, 7, 9, 11]
        assert [frame.number for frame in frames if frame.damaged] == [5, 12]
        assert len(seen) == 8  # other frames are not converted

    @pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.avi", "film.mpg", "film.h264"])
    def test_a_single_frame_is_found_by_its_time(self, name: str, tmp_path: Path) -> None:
        codec = {"film.avi": "mpeg4", "film.mpg": "mpeg2video"}.get(name, "libx264")
        images = [make.picture(number) for number in range(1, 41)]
        options = {"crf": "8", "g": "12", "b": "8M"}
        if name == "film.h264":
            plain = make.write(tmp_path / "film.mp4", codec, pictures=images, options=options)
            clip = make.rewrapped(plain, tmp_path / name)
        else:
            clip = make.write(tmp_path / name, codec, pictures=images, options=options)
        for number in (1, 2, 17, 24, 40):
            assert error(video_reader.read_frame(clip, (number - 1) / 30), make.picture(number)) < 4
        with pytest.raises(PipelineError, match="cannot be decoded"):
            video_reader.read_frame(clip, 9)

    def test_decoded_frames_are_freed_at_once(self, tmp_path: Path) -> None:
        """Frames of 4K that stay in memory until Python collects garbage are hundreds of megabytes."""
        clip = make.write(tmp_path / "film.mp4", pictures=[make.picture(number) for number in range(1, 61)])
        gc.collect()
        gc.disable()
        try:
            for _ in video_reader.read_frames(clip):
                pass
            assert sum(type(each) is av.VideoFrame for each in gc.get_objects()) < 5
        finally:
            gc.enable()

    def test_large_pictures_wait_in_a_shorter_queue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "CLIP_QUEUE_BYTES", 3 * 160 * 96 * 2)
        made: list[int] = []
        convert = pictures.Converter.picture
        monkeypatch.setattr(
            pictures.Converter,
            "picture",
            lambda self, frame: made.append(1) or convert(self, frame),  # type: ignore[func-returns-value]
        )
        reading = video_reader.read_frames(make.write(tmp_path / "film.mp4"))
        next(reading)
        thread = next(each for each in threading.enumerate() if each.name == "decode")
        thread.join(0.5)
        assert len(made) <= 4  # the one taken, two that wait and one in the decoder's hand
        del reading
        thread.join(5)
        assert not thread.is_alive()


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "codec", "pixels"),
        [
            ("film.mp4", "libx264", "yuv420p"),
            ("film.mov", "prores_ks", "yuv422p10le"),
            ("film.mov", "mjpeg", "yuvj422p"),
            ("film.webm", "libvpx-vp9", "yuv420p"),
            ("film.webm", "libvpx", "yuv420p"),
            ("film.mp4", "libsvtav1", "yuv420p"),
            ("film.mp4", "libx265", "yuv420p10le"),
            ("film.avi", "mpeg4", "yuv420p"),
            ("film.avi", "mjpeg", "yuvj420p"),
            ("film.mkv", "ffv1", "yuv420p"),
            ("film.ts", "libx264", "yuv420p"),
            ("film.mpg", "mpeg2video", "yuv420p"),
            ("film.flv", "libx264", "yuv420p"),
            ("film.mov", "png", "rgb24"),
        ],
    )
    def test_each_codec_and_container(self, name: str, codec: str, pixels: str, tmp_path: Path) -> None:
        color_range = make.FULL if pixels.startswith("yuvj") else make.LIMITED
        options = {"crf": "8"} if codec == "libsvtav1" else {"crf": "8", "b": "8M", "x265-params": "log-level=none"}
        clip = make.write(tmp_path / name, codec, pixels, color_range=color_range, options=options)
        assert_shows_the_film(clip, tolerance=6 if codec == "mjpeg" else 3.5)

    @pytest.mark.parametrize("matrix", make.MATRICES)
    @pytest.mark.parametrize("color_range", [make.LIMITED, make.FULL], ids=["limited", "full"])
    def test_each_colour_matrix_and_range(self, matrix: str, color_range: int, tmp_path: Path) -> None:
        clip = make.write(
            tmp_path / "film.mp4", pixels="yuv444p", matrix=make.MATRICES[matrix], color_range=color_range
        )
        assert_shows_the_film(clip, tolerance=1)

    def test_rgb(self, tmp_path: Path) -> None:
        assert_shows_the_film(make.write(tmp_path / "film.mp4", "libx264rgb", "rgb24", matrix=(0, 5)), tolerance=1)

    @pytest.mark.parametrize("matrix", [0, 3], ids=["rgb", "reserved"])
    def test_a_matrix_that_makes_no_sense_counts_as_none(self, matrix: int, tmp_path: Path) -> None:
        assert_shows_the_film(make.write(tmp_path / "film.mp4", matrix=(matrix, 5)))

    @pytest.mark.parametrize(
        ("size", "matrix"), [((720, 576), "smpte170m"), ((1280, 534), "bt709"), ((96, 640), "bt709")]
    )
    def test_clips_without_a_matrix_have_that_of_their_size(
        self, size: tuple[int, int], matrix: str, tmp_path: Path
    ) -> None:
        images = [make.picture(number, size) for number in (1, 2)]
        clip = make.write(tmp_path / "film.mp4", pictures=images, matrix=(2, make.MATRICES[matrix][1]))
        for frame in video_reader.read_frames(clip):
            assert error(frame.image, images[frame.number - 1]) < 3  # with the other matrix 5.6

    @pytest.mark.parametrize("transfer", [make.PQ, make.HLG], ids=["PQ", "HLG"])
    @pytest.mark.parametrize("tags", [(9, 9), (2, 2)], ids=["BT.2020", "transfer only"])
    @pytest.mark.parametrize(
        ("name", "codec"), [("film.mp4", "libx265"), ("film.mkv", "libsvtav1"), ("film.mov", "prores_ks")]
    )
    def test_hdr_looks_like_the_sdr_of_the_same_film(
        self, transfer: int, tags: tuple[int, int], name: str, codec: str, tmp_path: Path
    ) -> None:
        assert_shows_the_film(hdr_film(tmp_path / name, codec, transfer, tags))

    def test_dolby_vision_of_phones(self, tmp_path: Path) -> None:
        clip = make.with_dolby_vision(hdr_film(tmp_path / "film.mp4", "libx265", make.HLG), tmp_path / "phone.mp4")
        assert_shows_the_film(clip)

    @pytest.mark.parametrize("transfer", [2, 14])
    def test_a_wide_gamut_without_hdr(self, transfer: int, tmp_path: Path) -> None:
        images = [make.wide_gamut(make.picture(number)) for number in range(1, 13)]
        clip = make.write(
            tmp_path / "film.mp4", pixels="yuv444p10le", pictures=images, matrix=make.MATRICES["bt2020nc"],
            primaries=make.BT2020, transfer=transfer,
        )  # fmt: skip
        assert_shows_the_film(clip, tolerance=1.5)

    @pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(64, 45), Fraction(2), Fraction(1, 2)])
    @pytest.mark.parametrize(
        ("name", "codec", "pixels"),
        [
            ("film.mp4", "libx264", "yuv420p"),
            ("film.mkv", "libx264", "yuv420p"),
            ("film.ts", "libx264", "yuv420p"),
            ("film.mov", "prores_ks", "yuv422p10le"),
            ("film.avi", "mpeg4", "yuv420p"),
        ],
    )
    def test_pixels_that_are_not_square(
        self, name: str, codec: str, pixels: str, aspect: Fraction, tmp_path: Path
    ) -> None:
        clip = make.write(tmp_path / name, codec, pixels, aspect=aspect)
        width, height = make.SIZE
        size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        assert process_clip(video_reader.probe(clip), Nobody())[0].size.tolist() == list(size)
        frames = list(video_reader.read_frames(clip))
        for frame in frames:
            assert error(frame.image, cv2.resize(make.picture(frame.number), size)) < 3.5
        assert error(video_reader.read_frame(clip, 11 / 30), cv2.resize(make.picture(12), size)) < 3.5

    @pytest.mark.parametrize("aspect", [Fraction(1, 100), Fraction(500), Fraction(251, 250)])
    def test_an_aspect_ratio_that_no_pixels_have_counts_as_none(self, aspect: Fraction, tmp_path: Path) -> None:
        assert_shows_the_film(make.write(tmp_path / "film.mp4", aspect=aspect))

    @pytest.mark.parametrize("matrix", [8, 10], ids=["YCgCo", "BT.2020 cl"])
    def test_colours_that_cannot_be_converted_are_refused(self, matrix: int, tmp_path: Path) -> None:
        clip = make.write(tmp_path / "film.mp4", pixels="yuv444p", matrix=(matrix, 1))
        assert refusal(clip).code == "clip-colours"

    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize(
        ("name", "codec", "pixels", "field", "options"),
        [
            ("film.mp4", "libx264", "yuv422p", "tff", {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "4"}),
            ("film.mov", "prores_ks", "yuv422p10le", "tff", {"flags": "+ildct"}),
            ("film.avi", "dvvideo", "yuv420p", "bff", {"flags": "+ildct"}),
            ("film.mpg", "mpeg2video", "yuv420p", "tff", {"flags": "+ildct+ilme", "b": "9M"}),
        ],
        ids=["1080i", "ProRes", "DV", "MPEG-2"],
    )
    def test_interlaced_clips_and_those_tagged_so(
        self, name: str, codec: str, pixels: str, field: str, options: dict[str, str], progressive: bool, tmp_path: Path
    ) -> None:
        """Each frame shows one moment: the one of its first field."""
        size = (1920, 1080) if name == "film.mp4" else (720, 576)
        images = [
            make.picture(2 * number - 1, size) if progressive else make.woven(number, size) for number in range(1, 7)
        ]
        if field == "bff":  # the lower field is the earlier one
            images = [np.roll(image, 1, 0) for image in images]
        matrix = (2, make.MATRICES["bt709" if size[1] == 1080 else "smpte170m"][1])
        clip = make.write(
            tmp_path / name, codec, pixels, pictures=images, fps=25, field=field, options=options, matrix=matrix
        )
        with av.open(str(clip)) as opened:
            assert all(frame.interlaced_frame for frame in opened.decode(video=0))
        frames = list(video_reader.read_frames(clip))
        size = (768, 576) if codec == "dvvideo" else size  # its pixels are not square
        assert np.allclose([frame.time for frame in frames], np.arange(6) / 25, atol=1e-3)
        for frame in frames:
            assert error(frame.image, make.picture(2 * frame.number - 1, size)) < 3.5
            assert frame.image is not None
            rows = frame.image.astype(int)
            assert np.abs(rows[1:-1] - (rows[2:] + rows[:-2]) / 2).mean() < 1.5  # of woven fields: 4 and more

    @pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
    def test_avi_with_b_frames(self, codec: str, tmp_path: Path) -> None:
        """AVI holds no presentation times; by those that FFmpeg finds, 65 of 48 frames came, 17 of them damaged."""
        images = [make.picture(number) for number in range(1, 49)]
        clip = make.write(tmp_path / "film.avi", codec, pictures=images, options={"crf": "4", "bf": "3", "b": "8M"})
        assert_shows_the_film(clip, 48)
        assert error(video_reader.read_frame(clip, 30 / 30), make.picture(31)) < 3.5

    def test_uneven_avi_whose_header_counts_ticks(self, tmp_path: Path) -> None:
        """1176 of 48 frames were said to be missing."""
        times = [number / 25 + (0.12 if number > 5 else 0) for number in range(12)]
        clip = make.write(tmp_path / "screen.avi", times=times, fps=25, options={"crf": "4", "bf": "0"})
        frames = list(video_reader.read_frames(clip))
        assert video_reader.probe(clip).frames == len(frames) == 12
        assert missing(clip, frames) == 0
        assert np.allclose([frame.time for frame in frames], times, atol=2e-3)

    def test_a_stream_that_changes_its_format_size_and_interlacing(self, tmp_path: Path) -> None:
        flags = {"crf": "4", "bf": "0"}
        parts = [
            make.write(tmp_path / "1.mp4", options=flags),
            make.write(tmp_path / "2.mp4", pixels="yuv444p10le", options=flags),
            make.write(tmp_path / "3.mp4", options=flags, pictures=[make.picture(n, (320, 192)) for n in range(1, 13)]),
            make.write(
                tmp_path / "4.mp4",
                options=flags | {"flags": "+ildct+ilme", "x264-params": "tff=1"},
                field="tff",
            ),
        ]
        raw = [make.rewrapped(part, part.with_suffix(".h264")).read_bytes() for part in parts]
        clip = tmp_path / "mixed.h264"
        clip.write_bytes(b"".join(raw))
        frames = list(video_reader.read_frames(clip))
        assert looked_at(frames) == list(range(1, 49))
        for frame in frames:
            assert error(frame.image, make.picture((frame.number - 1) % 12 + 1)) < 4

    def test_a_stream_that_changes_its_shape_is_refused(self, tmp_path: Path) -> None:
        parts = [
            make.write(tmp_path / "1.mp4"),
            make.write(tmp_path / "2.mp4", pictures=[make.picture(n, (96, 160)) for n in range(1, 13)]),
        ]
        clip = tmp_path / "turned.h264"
        clip.write_bytes(b"".join(make.rewrapped(part, part.with_suffix(".h264")).read_bytes() for part in parts))
        assert refusal(clip).code == "clip-size-changes"
        assert str(refusal(clip)).startswith("The picture of turned.h264 changes from 160 x 96 to 96 x 160 pixels.")

    @pytest.mark.parametrize("name", ["camera.mov", "camera.mkv"])
    def test_the_largest_video_stream_is_read(self, name: str, tmp_path: Path) -> None:
        small, film = ("mjpeg", (80, 48), 12), ("libx264", make.SIZE, 12)
        assert_shows_the_film(with_streams(tmp_path / name, small, film))

    @pytest.mark.parametrize("size", [(320, 192), make.SIZE])
    @pytest.mark.parametrize("name", ["camera.mov", "camera.mkv"])
    def test_a_title_picture_that_is_a_video_stream_is_no_film(
        self, name: str, size: tuple[int, int], tmp_path: Path
    ) -> None:
        """The film was one frame long."""
        assert_shows_the_film(with_streams(tmp_path / name, ("mjpeg", size, 1), ("libx264", make.SIZE, 12)))

    def test_of_streams_of_one_size_the_default_one_is_read(self, tmp_path: Path) -> None:
        clip = with_streams(tmp_path / "angles.mkv", *[("libx264", make.SIZE, 12)] * 2, default=1)
        with container.opened(clip) as (_, stream):
            assert stream.index == 1
        assert_shows_the_film(clip)


def with_streams(path: Path, *streams: tuple[str, tuple[int, int], int], default: int | None = None) -> Path:
    """A clip of several video streams, each with codec, size and number of frames; ``default``: the one named so."""
    with av.open(str(path), "w") as output:
        written = []
        for codec, (width, height), count in streams:
            stream = output.add_stream(codec, rate=30, options={"crf": "4", "qscale": "2"})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if default is not None:
                named = stream.index == default
                stream.disposition = av.stream.Disposition.default if named else av.stream.Disposition(0)
            written.append((stream, (width, height), count))
        for number in range(1, 13):
            for stream, size, count in written:
                if number <= count:
                    frame = av.VideoFrame.from_ndarray(make.picture(number, size), "rgb24")
                    frame = frame.reformat(format=stream.pix_fmt)
                    frame.pts = number - 1
                    output.mux(stream.encode(frame))
        for stream, *_ in written:
            output.mux(stream.encode(None))
    return path


def hdr_film(path: Path, codec: str, transfer: int, tags: tuple[int, int] = (9, 9)) -> Path:
    """The film in HDR; ``tags``: its primaries and matrix in the file."""
    options = {"libx265": {"crf": "4", "x265-params": "log-level=none"}, "libsvtav1": {"crf": "8"}}.get(codec)
    return make.write(
        path, codec, "yuv422p10le" if codec == "prores_ks" else "yuv420p10le", options=options,
        pictures=[make.hdr(make.picture(number), transfer) for number in range(1, 13)],
        primaries=tags[0], matrix=(tags[1], make.MATRICES["bt2020nc"][1]), transfer=transfer,
    )  # fmt: skip


P = make.picture(12)
TURNED = P.transpose(1, 0, 2)


class TestOrientation:
    @pytest.mark.parametrize(
        ("matrix", "expected"),
        [
            ((0, 1, -1, 0), TURNED[:, ::-1]),  # a phone held upright
            ((-1, 0, 0, -1), P[::-1, ::-1]),
            ((0, -1, 1, 0), TURNED[::-1]),
            ((-1, 0, 0, 1), P[:, ::-1]),  # mirrored, as front cameras do
            ((1, 0, 0, -1), P[::-1]),
            ((0, 1, 1, 0), TURNED),
            ((0, -1, -1, 0), TURNED[::-1, ::-1]),
        ],
    )
    def test_turned_and_mirrored_clips_come_upright(
        self, matrix: tuple[int, int, int, int], expected: np.ndarray, tmp_path: Path
    ) -> None:
        clip = make.with_matrix(make.write(tmp_path / "phone.mp4"), *matrix)
        info = video_reader.probe(clip)
        assert (info.height, info.width) == expected.shape[:2]
        assert error(list(video_reader.read_frames(clip))[-1].image, expected) < 3
        assert error(video_reader.read_frame(clip, 11 / 30), expected) < 3

    def test_pixels_are_made_square_before_the_picture_is_turned(self, tmp_path: Path) -> None:
        clip = make.with_matrix(make.write(tmp_path / "phone.mp4", aspect=Fraction(4, 3)), 0, 1, -1, 0)
        expected = cv2.resize(P, (213, 96)).transpose(1, 0, 2)[:, ::-1]
        assert (video_reader.probe(clip).width, video_reader.probe(clip).height) == (96, 213)
        assert error(list(video_reader.read_frames(clip))[-1].image, expected) < 3.5

    @pytest.mark.parametrize("rotate", [0, 90, 180, 270])
    def test_the_turn_that_is_asked_for_comes_after_the_clip_s_own(self, rotate: int, tmp_path: Path) -> None:
        clip = make.with_matrix(make.write(tmp_path / "phone.mp4"), 0, 1, -1, 0)
        expected = np.rot90(TURNED[:, ::-1], -rotate // 90)
        info = video_reader.probe(clip, rotate)
        assert (info.height, info.width) == expected.shape[:2]
        assert error(list(video_reader.read_frames(clip, 1, None, rotate))[-1].image, expected) < 3
        assert error(video_reader.read_frame(clip, 11 / 30, rotate), expected) < 3
        size = process_clip(video_reader.probe(clip, rotate), Nobody())[0].size
        assert size.tolist() == [info.width, info.height]


class TestWhatIsMissing:
    def test_an_edit_list_hides_frames_and_loses_none(self, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 61)]
        clip = make.with_edits(make.write(tmp_path / "phone.mp4", pictures=images), (20, 0.5))
        frames = list(video_reader.read_frames(clip))
        assert len(frames) == 15
        assert video_reader.probe(clip).frames == 15
        assert missing(clip, frames) == 0
        for frame in frames:
            assert error(frame.image, make.picture(frame.number + 20)) < 3
        assert error(video_reader.read_frame(clip, 10 / 30), make.picture(31)) < 3

    def test_an_edit_list_of_two_parts_after_a_pause(self, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 61)]
        clip = make.write(tmp_path / "cut.mp4", pictures=images)
        clip = make.with_edits(clip, (40, 0.4), (6, 0.3), empty=2.0)
        shown = [*range(41, 53), *range(7, 16)]
        frames = list(video_reader.read_frames(clip))
        assert len(frames) == len(shown)
        assert np.allclose([frame.time for frame in frames], np.arange(len(shown)) / 30, atol=1e-3)
        for frame, number in zip(frames, shown, strict=True):
            assert error(frame.image, make.picture(number)) < 3
        assert missing(clip, frames) == 0
        assert error(video_reader.read_frame(clip, 14 / 30), make.picture(9)) < 3

    @pytest.mark.parametrize(
        ("name", "options", "hidden"),
        [
            ("early.mp4", {}, 15),  # by its edit list
            ("early.mp4", {"movflags": "negative_cts_offsets"}, 15),
            ("early.mp4", {"use_editlist": "0", "avoid_negative_ts": "disabled"}, 0),
            ("early.mkv", {"avoid_negative_ts": "disabled"}, 0),
        ],
    )
    def test_negative_time_stamps(self, name: str, options: dict[str, str], hidden: int, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 61)]
        plain = make.write(tmp_path / "plain.mp4", pictures=images)
        clip = make.rewrapped(plain, tmp_path / name, delay=-0.5, options=options)
        frames = list(video_reader.read_frames(clip))
        assert len(frames) == 60 - hidden
        assert np.allclose([frame.time for frame in frames], np.arange(len(frames)) / 30, atol=1e-3)
        for frame in frames:
            assert error(frame.image, make.picture(frame.number + hidden)) < 3
        assert missing(clip, frames) == 0
        assert error(video_reader.read_frame(clip, 20 / 30), make.picture(21 + hidden)) < 3

    @pytest.mark.parametrize("name", ["trim.ts", "trim.mkv", "trim.mp4"])
    def test_a_trim_before_frames_that_need_what_was_cut_off(self, name: str, tmp_path: Path) -> None:
        """The first packet's frame is a keyframe of an open group: frames before it need the group before."""
        images = [make.picture(number) for number in range(1, 61)]
        options = {"crf": "4", "g": "20", "x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0"}
        plain = make.write(tmp_path / f"plain{Path(name).suffix}", pictures=images, options=options)
        with av.open(str(plain)) as opened:
            packets = [packet for packet in opened.demux(video=0) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        stamps = [packet.pts or 0 for packet in packets[keys[1] :]]
        shown = sum(stamp >= stamps[0] for stamp in stamps)
        assert len(packets) - keys[1] > shown
        clip = make.rewrapped(plain, tmp_path / name, keep=lambda number: number >= keys[1])
        frames = list(video_reader.read_frames(clip))
        assert len(frames) == shown
        assert not any(frame.damaged for frame in frames)
        assert np.allclose([frame.time for frame in frames], np.arange(shown) / 30, atol=1e-3)
        for frame in frames:
            assert error(frame.image, make.picture(60 - shown + frame.number)) < 3.5
        assert missing(clip, frames) == 0

    @pytest.mark.parametrize("sound", [0.0, 7.0])
    @pytest.mark.parametrize("name", ["late.mp4", "late.mov", "late.mkv", "late.ts", "late.flv"])
    def test_a_video_that_begins_late_loses_none(self, name: str, sound: float, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 61)]
        clip = make.rewrapped(
            make.write(tmp_path / "plain.mp4", pictures=images), tmp_path / name, delay=5, sound=sound
        )
        assert_shows_the_film(clip, 60)

    def test_a_clip_that_gives_39_of_60_frames(self, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 61)]
        plain = make.write(tmp_path / "plain.mp4", pictures=images, options={"crf": "4", "g": "1"})
        clip = make.rewrapped(plain, tmp_path / "cut.mp4", options={"movflags": "faststart"})
        data = clip.read_bytes()
        start, sizes = data.index(b"mdat") + 4, []
        with av.open(str(clip)) as opened:
            sizes = [packet.size for packet in opened.demux(video=0) if packet.size]
        clip.write_bytes(data[: start + sum(sizes[:39])])
        frames = list(video_reader.read_frames(clip))
        assert len(looked_at(frames)) == 39
        assert missing(clip, frames) + sum(frame.damaged for frame in frames) == 21
        assert missing(clip, frames[:20], 1, 20) == 0
        assert missing(clip, frames[10:39], 11, 50) == 11

    @pytest.mark.parametrize(
        ("name", "codec", "pixels"),
        [
            ("film.avi", "mjpeg", "yuvj420p"),
            ("film.mov", "prores_ks", "yuv422p10le"),
            ("film.mp4", "libx264", "yuv420p"),
            ("film.mkv", "libx264", "yuv420p"),
            ("film.avi", "mpeg4", "yuv420p"),
        ],
    )
    @pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
    def test_a_damaged_frame_has_no_picture_and_keeps_its_place(
        self, name: str, codec: str, pixels: str, part: float, tmp_path: Path
    ) -> None:
        options = {"crf": "4", "b": "8M", "qscale": "2", "g": "1"}
        color_range = make.FULL if pixels == "yuvj420p" else make.LIMITED
        clip = make.write(tmp_path / name, codec, pixels, options=options, color_range=color_range)
        clip = with_packet(clip, 5, lambda content: content[: int(part * len(content))])
        frames = list(video_reader.read_frames(clip))
        assert [frame.number for frame in frames] == list(range(1, 13))
        assert [frame.number for frame in frames if frame.damaged] == [6]
        assert np.allclose([frame.time for frame in frames], np.arange(12) / 30, atol=2e-3)
        for frame in frames:
            assert frame.number == 6 or error(frame.image, make.picture(frame.number)) < 6
        assert missing(clip, frames) == 0
        assert process_clip(video_reader.probe(clip), Nobody())[0].damaged.tolist() == [6]

    def test_a_stream_that_never_says_its_size(self, tmp_path: Path) -> None:
        options = {"crf": "4", "x264-params": "open-gop=1:keyint=4:scenecut=0"}
        plain = make.write(tmp_path / "plain.mp4", options=options)
        clip = make.rewrapped(plain, tmp_path / "cut.ts", keep=lambda number: number > 5)
        assert refusal(clip).code == "clip-unreadable"

    def test_matroska_without_an_index_that_breaks_off(self, tmp_path: Path) -> None:
        images = [make.picture(number) for number in range(1, 121)]
        clip = make.write(tmp_path / "film.mkv", pictures=images)
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        frames = list(video_reader.read_frames(clip))
        assert 20 < len(frames) < 100
        assert missing(clip, frames) == pytest.approx(120 - len(frames), abs=2)


class Nobody:
    """Finds no people."""

    def start_new_shot(self) -> None:
        pass

    def process_frame(self, image: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4))

    def finished_rows(self) -> list[DetectionRow]:
        return []

    def finish(self) -> None:
        pass


def png(width: int, height: int) -> bytes:
    """A picture file that claims a size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class TestLimits:
    @pytest.mark.parametrize("size", [(14, 14), (2, 200), (200, 8)])
    def test_tiny_pictures_are_refused(self, size: tuple[int, int], tmp_path: Path) -> None:
        images = [np.zeros((size[1], size[0], 3), np.uint8)] * 4
        clip = make.write(tmp_path / "tiny.avi", "mjpeg", "yuvj420p", pictures=images, color_range=make.FULL)
        assert refusal(clip).code == "clip-size-refused"

    @pytest.mark.parametrize("size", [(16, 16), (17, 300)])
    def test_the_smallest_that_are_not_refused_pass(self, size: tuple[int, int], tmp_path: Path) -> None:
        images = [make.picture(number, size) for number in range(1, 9)]
        clip = make.write(tmp_path / "small.avi", "mjpeg", "yuvj420p", pictures=images, color_range=make.FULL)
        assert process_clip(video_reader.probe(clip), Nobody())[0].size.tolist() == list(size)

    @pytest.mark.parametrize("size", [(20_000, 20), (12_000, 12_000), (1_000_000, 1_000_000)])
    def test_absurd_pictures_are_refused(self, size: tuple[int, int], tmp_path: Path) -> None:
        clip = tmp_path / "huge.png"
        clip.write_bytes(png(*size))
        assert refusal(clip).code in {"clip-size-refused", "clip-unreadable"}

    def test_frames_that_grow_beyond_the_limit_are_not_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = [
            make.write(tmp_path / "1.mp4", options={"crf": "4", "bf": "0"}),
            make.write(tmp_path / "2.mp4", pictures=[make.picture(n, (640, 384)) for n in range(1, 13)]),
        ]
        clip = tmp_path / "grows.h264"
        clip.write_bytes(b"".join(make.rewrapped(part, part.with_suffix(".h264")).read_bytes() for part in parts))
        assert len(looked_at(list(video_reader.read_frames(clip)))) == 24
        monkeypatch.setattr(limits, "CLIP_PIXELS", 320 * 192)
        assert looked_at(list(video_reader.read_frames(clip)))[-1] in {
            10,
            11,
            12,
        }  # FFmpeg may lose those it holds back

    def test_frames_far_apart_are_refused(self, tmp_path: Path) -> None:
        """45 frames at 1/30 fps made 40,500 rows."""
        images = [make.picture(number) for number in range(1, 46)]
        clip = make.write(tmp_path / "lapse.mp4", pictures=images, times=[30.0 * number for number in range(45)])
        assert refusal(clip).code == "clip-gap"
        assert str(refusal(clip)).startswith("Frames 1 and 2 of lapse.mp4 are 30 seconds apart")

    def test_a_slide_show_is_refused(self, tmp_path: Path) -> None:
        clip = make.write(tmp_path / "slides.mp4", times=[5.0 * number for number in range(12)])
        assert refusal(clip).code == "clip-too-slow"

    def test_a_pause_of_some_seconds_is_not(self, tmp_path: Path) -> None:
        times = [number / 30 + (6 if number > 5 else 0) for number in range(12)]
        frames = list(video_reader.read_frames(make.write(tmp_path / "phone.mp4", times=times)))
        assert np.allclose([frame.time for frame in frames], times, atol=1e-3)

    def test_a_range_before_or_after_a_longer_pause_can_be_read(self, tmp_path: Path) -> None:
        times = [number / 30 + (60 if number > 5 else 0) for number in range(12)]
        clip = make.write(tmp_path / "phone.mp4", times=times)
        assert refusal(clip).code == "clip-gap"
        assert len(list(video_reader.read_frames(clip, 1, 6))) == 6
        assert len(list(video_reader.read_frames(clip, 7))) == 6

    def test_a_packet_of_endless_frames_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clip = make.write(tmp_path / "film.mp4")
        monkeypatch.setattr(limits, "CLIP_PACKET_FRAMES", 0)
        assert str(refusal(clip)).startswith("One packet of film.mp4 holds 1 frames.")


LISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.ts\n#EXT-X-ENDLIST\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"/>',
    "ffconcat": "ffconcat version 1.0\nfile film.ts\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "ffmeta": ";FFMETADATA1\ntitle=x\n",
}


class TestOnlyTheFileItself:
    @pytest.mark.parametrize("suffix", LISTS)
    @pytest.mark.parametrize("renamed", [False, True])
    def test_lists_of_other_files_and_addresses_are_refused(self, suffix: str, renamed: bool, tmp_path: Path) -> None:
        make.write(tmp_path / "film.ts")
        clip = tmp_path / ("film.mp4" if renamed else f"film.{suffix}")
        clip.write_text(LISTS[suffix])
        assert refusal(clip).code == "clip-unreadable"
        assert str(refusal(clip)).startswith(f"{clip.name} is not a video")

    @pytest.mark.parametrize("name", ["http://127.0.0.1:9/film.mp4", "concat:a.ts|b.ts", "film%03d.png"])
    def test_a_name_is_never_an_address_or_a_pattern(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "film001.png").write_bytes(png(64, 64))
        assert refusal(tmp_path / name).code == "clip-not-found"

    def test_devices_pipes_and_folders(self, tmp_path: Path) -> None:
        assert refusal(tmp_path).code == "clip-not-found"
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.mp4")
            assert refusal(tmp_path / "pipe.mp4").code == "clip-not-found"
            assert refusal(Path("/dev/zero")).code == "clip-not-found"

    @pytest.mark.parametrize(
        ("number", "code", "sentence"),
        [
            (errno.EACCES, "clip-no-permission", "film.mp4 may not be read: "),
            (errno.EIO, "clip-not-readable", "The clip film.mp4 cannot be read: "),
        ],
    )
    def test_a_file_that_cannot_be_opened(
        self, number: int, code: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clip = make.write(tmp_path / "film.mp4")

        def refuse(path: Path) -> None:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(container, "open_regular", refuse)
        caught = refusal(clip)
        assert caught.code == code
        assert str(caught).startswith(sentence)

    def test_names_with_any_characters(self, tmp_path: Path) -> None:
        assert_shows_the_film(make.write(tmp_path / "film.mp4").rename(tmp_path / "ein Film %03d #é.mp4"))

    def test_errors_of_ffmpeg_are_sentences(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clip = make.write(tmp_path / "film.mp4")

        def fail(*_: object) -> None:
            raise av.error.InvalidDataError(1, "Invalid data found")

        monkeypatch.setattr(pictures, "_deinterlaced", fail)
        assert refusal(clip).code == "clip-unreadable"
