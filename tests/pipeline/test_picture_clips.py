"""Image sequences as clips: pictures of every kind, their frames and times, what is missing, and their hash."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.clips import make
from wham_blender import limits
from wham_blender.pipeline.clip import picture, video_reader
from wham_blender.pipeline.clip.image_sequence import PictureClip, clip_of, content_sha256, description
from wham_blender.pipeline.errors import PipelineError

Pixels = Callable[[np.ndarray], np.ndarray]


def encoded(codec: str, pixels: str, image: np.ndarray, **options: str) -> bytes:
    """A picture as FFmpeg writes it."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = image.shape[1], image.shape[0], pixels
    context.time_base, context.options = 1, options  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
    return b"".join(map(bytes, [*context.encode(frame), *context.encode(None)]))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def write(folder: Path, numbers: Iterable[int], name: str = "shot_{:04}.png", first: int | None = None) -> Path:
    """Pictures of the film of make.picture; frame 1 is the first number."""
    folder.mkdir(exist_ok=True)
    numbers = list(numbers)
    for number in numbers:
        (folder / name.format(number)).write_bytes(png(make.picture(number - (first or numbers[0]) + 1)))
    return folder


def clip(folder: Path, fps: float | None = 30.0) -> PictureClip:
    found = clip_of(folder, fps)
    assert isinstance(found, PictureClip)
    return found


def read(source: PictureClip, start: int = 1, end: int | None = None) -> list[video_reader.Frame]:
    return list(video_reader.read_frames(source, start, end))


def refusal(path: Path, fps: float | None = 30.0) -> tuple[str, str]:
    with pytest.raises(PipelineError) as caught:
        read(clip(path, fps))
    return caught.value.code, str(caught.value)


def error(image: np.ndarray | None, expected: np.ndarray) -> float:
    assert image is not None
    assert image.shape == expected.shape
    return float(np.abs(image.astype(int) - expected).mean())


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


class TestFramesAndTimes:
    def test_each_picture_is_a_frame_at_the_given_rate(self, tmp_path: Path) -> None:
        source = clip(write(tmp_path, range(1001, 1013)), 25)
        info = video_reader.probe(source)
        assert (info.width, info.height, info.fps, info.frames) == (*make.SIZE, 25, 12)
        frames = read(source)
        assert [frame.number for frame in frames] == list(range(1, 13))
        assert np.allclose([frame.time for frame in frames], np.arange(12) / 25)
        assert max(error(frame.image, make.picture(frame.number)) for frame in frames) == 0
        assert not any(frame.damaged for frame in frames)
        assert error(video_reader.read_frame(source, 5 / 25), make.picture(6)) == 0
        assert clip(tmp_path, None).fps == 24
        assert description(source) == "shot_####.png: 12 pictures, numbers 1001 to 1012, at 25 fps"

    def test_a_range_keeps_the_clip_s_numbers_and_times(self, tmp_path: Path) -> None:
        frames = read(clip(write(tmp_path, range(1, 21))), 5, 8)
        assert [(frame.number, round(frame.time * 30)) for frame in frames] == [(5, 4), (6, 5), (7, 6), (8, 7)]
        assert error(frames[0].image, make.picture(5)) == 0

    def test_numbers_without_zeros_are_in_the_order_of_counting(self, tmp_path: Path) -> None:
        frames = read(clip(write(tmp_path, range(1, 13), "a{}.png")))
        assert max(error(frame.image, make.picture(frame.number)) for frame in frames) == 0

    def test_a_fast_sequence_is_looked_at_thirty_times_a_second_and_at_the_end(self, tmp_path: Path) -> None:
        frames = read(clip(write(tmp_path, range(1, 25)), 120))
        assert [frame.number for frame in frames if frame.image is not None] == [1, 4, 8, 12, 16, 20, 24]
        assert not any(frame.damaged for frame in frames)

    def test_a_missing_picture_is_a_missing_frame_with_its_time(self, tmp_path: Path) -> None:
        source = clip(write(tmp_path, [*range(1, 5), 6, *range(9, 13)]))
        frames = read(source)
        assert [frame.number for frame in frames] == list(range(1, 13))
        assert [frame.number for frame in frames if frame.damaged] == [5, 7, 8]
        assert np.allclose([frame.time for frame in frames], np.arange(12) / 30)
        assert error(frames[8].image, make.picture(9)) == 0
        assert video_reader.probe(source).frames == 12
        assert error(video_reader.read_frame(source, 6 / 30), make.picture(9)) == 0  # the next one
        assert source.missing(1, None).startswith("shot_####.png lacks 3 pictures, numbers 5, 7 to 8. Their time stays")
        assert source.missing(8, 12).startswith("shot_####.png lacks 1 pictures, numbers 8.")
        assert source.missing(9, None) == ""

    def test_a_gap_in_which_nobody_can_be_followed_is_refused(self, tmp_path: Path) -> None:
        source = clip(write(tmp_path, [1, 2, 3, 99_999_998, 99_999_999]), 24)
        with pytest.raises(PipelineError, match=r"Pictures 4 to 99999997 of shot_####.png are missing") as caught:
            source.missing(1, None)
        assert caught.value.code == "clip-gap"
        assert source.missing(1, 3) == ""
        assert clip(write(tmp_path / "a", [1, 2, 242, 243]), 24).missing(1, None) != ""  # ten seconds

    def test_a_frame_after_a_missing_one_is_looked_at(self, tmp_path: Path) -> None:
        frames = read(clip(write(tmp_path, [*range(1, 5), *range(6, 13)]), 60))
        assert [frame.number for frame in frames if frame.image is not None] == [1, 3, 6, 7, 9, 11, 12]


class TestPictures:
    @pytest.mark.parametrize(
        ("suffix", "codec", "pixels", "tolerance"),
        [("png", "png", "rgb24", 0), ("png", "png", "rgba", 0), ("png", "png", "rgb48be", 1),
         ("png", "png", "rgba64be", 1), ("jpg", "mjpeg", "yuvj444p", 2.5), ("jpeg", "mjpeg", "yuvj420p", 3),
         ("webp", "libwebp", "bgra", 3), ("tif", "tiff", "rgb24", 0), ("tiff", "tiff", "rgb48le", 1),
         ("TIF", "tiff", "rgba64le", 1)],
    )  # fmt: skip
    def test_every_kind_of_picture_shows_the_film(
        self, suffix: str, codec: str, pixels: str, tolerance: float, tmp_path: Path
    ) -> None:
        options = {"qscale": "1"} if codec == "mjpeg" else {"quality": "98"} if codec == "libwebp" else {}
        for number in range(1, 5):
            content = encoded(codec, pixels, make.picture(number), **options)
            (tmp_path / f"a{number}.{suffix}").write_bytes(content)
        frames = read(clip(tmp_path))
        assert max(error(frame.image, make.picture(frame.number)) for frame in frames) <= tolerance

    @pytest.mark.parametrize("pixels", ["gbrpf32le", "gbrapf32le"])
    @pytest.mark.parametrize(
        "options",
        [{"compression": "none"}, {"compression": "zip16"}, {"compression": "rle"}, {"format": "half"}],
        ids=lambda options: "".join(options.values()),
    )
    def test_linear_light_in_exr_becomes_what_a_screen_shows(
        self, pixels: str, options: dict[str, str], tmp_path: Path
    ) -> None:
        for number in range(1, 4):
            shown = make.picture(number) / 255
            linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4).astype(np.float32)
            context = av.CodecContext.create("exr", "w")
            assert isinstance(context, av.VideoCodecContext)
            context.width, context.height, context.pix_fmt, context.time_base = *make.SIZE, pixels, 1  # type: ignore[assignment]
            context.options = options
            if pixels == "gbrapf32le":
                linear = np.dstack([linear, np.ones_like(linear[..., 0])])
            packets = context.encode(av.VideoFrame.from_ndarray(linear, pixels))
            (tmp_path / f"a{number}.exr").write_bytes(b"".join(map(bytes, [*packets, *context.encode(None)])))
        frames = read(clip(tmp_path))
        assert max(error(frame.image, make.picture(frame.number)) for frame in frames) < 0.3

    @pytest.mark.parametrize("compression", [8, 9])
    def test_an_exr_that_would_come_out_black_is_a_sentence(self, compression: int, tmp_path: Path) -> None:
        content = encoded("exr", "gbrpf32le", make.picture(1))
        head = b"compression\0compression\0\x01\0\0\0"
        at = content.index(head) + len(head)
        for number in (1, 2):
            path = tmp_path / f"a{number}.exr"
            path.write_bytes(content[:at] + bytes([compression]) + content[at + 1 :])
        code, sentence = refusal(tmp_path)
        assert code == "pictures-unreadable"
        assert sentence.startswith("a1.exr is compressed with DWAA or DWAB, which cannot be read. Save the pictures")

    def test_alpha_is_shown_over_black(self, tmp_path: Path) -> None:
        rgba = np.dstack([make.picture(1), np.full(make.SIZE[::-1], 255, np.uint8)])
        rgba[:10, :, 3], rgba[10:20, :, 3] = 0, 128
        for number, suffix in enumerate(("png", "webp", "tif"), 1):
            options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == "webp" else []
            folder = tmp_path / suffix
            folder.mkdir()
            for name in (f"{number}.{suffix}", f"{number + 1}.{suffix}"):
                cv2.imwrite(str(folder / name), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), options)
            image = read(clip(folder))[0].image
            assert image is not None
            assert not image[:10].any()
            assert error(image[10:20], make.picture(1)[10:20] // 2) < 1
            assert error(image[20:], make.picture(1)[20:]) == 0

    def test_grey_and_palettes_become_rgb(self, tmp_path: Path) -> None:
        image = np.full((32, 48, 3), 255, np.uint8)
        image[:, :24] = 0
        for number, pixels in enumerate(("gray", "gray16be", "ya8", "monob"), 1):
            (tmp_path / f"a{number}.png").write_bytes(encoded("png", pixels, image))
        (tmp_path / "a5.png").write_bytes(palette_png((image[..., 0] // 255).astype(np.uint8)))
        frames = read(clip(tmp_path))
        assert len(frames) == 5
        for frame in frames:
            assert frame.image is not None
            assert frame.image[:, :23].max() < 3
            assert frame.image[:, 25:].min() > 252

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
    def test_pictures_stand_upright_as_exif_says(self, orientation: int, kind: str, tmp_path: Path) -> None:
        upright = make.picture(3)
        # Exif: where the stored picture's first row and column lie in the upright one.
        stored = {
            1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
            6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
        }[orientation]  # fmt: skip
        content = oriented(kind, np.ascontiguousarray(stored), orientation)
        for number in (1, 2):
            (tmp_path / f"a{number}.{kind}").write_bytes(content)
        source = clip(tmp_path)
        assert error(read(source)[0].image, upright) < 3
        assert video_reader.probe(source).width == upright.shape[1]
        turned = next(iter(video_reader.read_frames(source, 1, None, 90))).image
        assert error(turned, np.rot90(upright, -1)) < 3

    def test_pictures_of_other_sizes_become_the_first_s_and_other_shapes_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path, range(1, 4))
        half = cv2.resize(make.picture(2), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        (tmp_path / "shot_0002.png").write_bytes(png(half))
        frames = read(clip(tmp_path))
        assert error(frames[1].image, make.picture(2)) < 4
        (tmp_path / "shot_0003.png").write_bytes(png(make.picture(3)[:, :60]))
        code, sentence = refusal(tmp_path)
        assert code == "clip-size-changes"
        assert sentence.startswith("The picture of shot_0003.png changes from 160 x 96 to 60 x 96 pixels")

    def test_a_damaged_picture_is_a_damaged_frame(self, tmp_path: Path) -> None:
        write(tmp_path, range(1, 8))
        whole = (tmp_path / "shot_0003.png").read_bytes()
        (tmp_path / "shot_0001.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "shot_0003.png").write_bytes(b"")
        (tmp_path / "shot_0005.png").write_bytes(b"text")
        (tmp_path / "shot_0007.png").write_bytes(whole[:-20])
        frames = read(clip(tmp_path))
        assert [frame.number for frame in frames if frame.damaged] == [1, 3, 5, 7]
        assert error(frames[1].image, make.picture(2)) == 0

    def test_pictures_that_none_can_be_decoded_of_are_a_sentence(self, tmp_path: Path) -> None:
        for number in range(1, 5):
            (tmp_path / f"a{number}.png").write_bytes(b"text")
        assert refusal(tmp_path) == (
            "pictures-unreadable",
            "No picture of a#.png can be decoded. Save the pictures as PNG or JPEG, and try again.",
        )
        write(tmp_path, [9], "a{}.png")
        with pytest.raises(PipelineError, match=r"No picture of a#.png from frame 1 to 3 can be decoded"):
            read(clip(tmp_path), 1, 3)

    def test_a_picture_larger_than_memory_is_refused_by_its_header(self, tmp_path: Path) -> None:
        small = png(make.picture(1))
        header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + small[24:29]
        content = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
        assert picture.decode(content, tmp_path / "a.png") is None

    def test_pictures_of_more_pixels_than_a_clip_may_have_are_not_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = png(make.picture(1))
        assert picture.decode(content, tmp_path / "a.png") is not None
        monkeypatch.setattr(limits, "CLIP_PIXELS", 100)
        assert picture.decode(content, tmp_path / "a.png") is None

    def test_a_file_beyond_the_limit_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = clip(write(tmp_path, range(1, 4)))
        monkeypatch.setattr(limits, "PICTURE_BYTES", 10)
        with pytest.raises(PipelineError, match=r"No picture of shot_####.png can be decoded"):
            read(source)


class TestContent:
    def test_the_hash_depends_on_every_picture_their_numbers_and_the_rate(self, tmp_path: Path) -> None:
        write(tmp_path, range(1, 5))
        hashes = [content_sha256(clip(tmp_path)), content_sha256(clip(tmp_path, 25))]
        (tmp_path / "shot_0004.png").rename(tmp_path / "shot_0005.png")
        hashes.append(content_sha256(clip(tmp_path)))
        (tmp_path / "shot_0005.png").write_bytes(png(make.picture(9)))
        hashes.append(content_sha256(clip(tmp_path)))
        (tmp_path / "shot_0005.png").unlink()
        hashes.append(content_sha256(clip(tmp_path)))
        assert len(set(hashes)) == 5
        other = write(tmp_path / "copy", range(1001, 1004), "b.{}.png")
        assert content_sha256(clip(other)) == hashes[-1]

    def test_a_video_has_its_own_rate(self, tmp_path: Path) -> None:
        video = make.write(tmp_path / "film.mp4")
        assert clip_of(video, None) == video
        with pytest.raises(PipelineError, match=r"film.mp4 has a frame rate of its own. Leave the option --fps out"):
            clip_of(video, 24)
        with pytest.raises(PipelineError, match="holds no numbered pictures") as caught:
            clip_of(tmp_path, 24)
        assert caught.value.code == "sequence-not-found"


def palette_png(indices: np.ndarray) -> bytes:
    """A PNG of black (0) and white (1) by a palette."""
    height, width = indices.shape
    parts = [
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0), b"PLTE" + bytes(3) + b"\xff" * 3,
        b"IDAT" + zlib.compress(np.pad(indices, ((0, 0), (1, 0))).tobytes()), b"IEND",
    ]  # fmt: skip
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def oriented(kind: str, image: np.ndarray, orientation: int) -> bytes:
    """A picture of a kind with an orientation in its Exif data."""
    if kind == "tif":
        content = encoded("tiff", "rgb24", image)  # FFmpeg writes the directory behind the picture
        (at,) = struct.unpack_from("<I", content, 4)
        (count,) = struct.unpack_from("<H", content, at)
        entries = [content[at + 2 + 12 * each : at + 14 + 12 * each] for each in range(count)]
        entries = sorted([each for each in entries if each[:2] != b"\x12\x01"] + [exif(orientation)[10:22]])
        entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
        directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
        return content[:4] + struct.pack("<I", len(content)) + content[8:] + directory
    if kind == "jpg":
        content = encoded("mjpeg", "yuvj444p", image, qscale="1")
        part = b"Exif\0\0" + exif(orientation, ">")
        return content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part + content[2:]
    if kind == "png":
        content, part = png(image), b"eXIf" + exif(orientation)
        return (
            content[:33] + struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) + content[33:]
        )
    content = encoded("libwebp", "bgra", image, quality="98")
    part = b"EXIF" + struct.pack("<I", len(exif(orientation))) + exif(orientation)
    body = content[12:]
    if not body.startswith(b"VP8X"):
        sides = struct.pack("<I", image.shape[1] - 1)[:3] + struct.pack("<I", image.shape[0] - 1)[:3]
        body = b"VP8X" + struct.pack("<II", 10, 8) + sides + body
    return b"RIFF" + struct.pack("<I", 4 + len(body) + len(part)) + b"WEBP" + body + part
