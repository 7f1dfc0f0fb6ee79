"""Single video files of every kind, and those that cannot be used."""

import json

import av
import cv2
import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie


@pytest.fixture
def scene():
    """Return smooth frames that every codec can hold: a spot that moves over a ramp."""
    y, x = np.mgrid[0:48, 0:64]
    spots = [np.exp(-((y - 10 - n / 2) ** 2 + (x - 12 - n) ** 2) / 40) for n in range(40)]
    return np.stack([40 + x + 90 * spot for spot in spots]).astype(np.uint8)


def write(path, frames, codec, pixel_format, rate=20, options=None):
    given = "rgb24" if frames[0].ndim == 3 else "gray" if frames[0].dtype == np.uint8 else "gray16le"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.options = options or {}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=given)))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.avi", "rawvideo", "gray"),
        ("a.avi", "ffv1", "gray"),
        ("a.mkv", "ffv1", "gray"),
        ("a.avi", "png", "gray"),
        ("a.avi", "ffvhuff", "gray"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mkv", "ffv1", "bgr0"),
    ],
)
def test_lossless_videos_are_read_exactly_in_any_order(tmp_path, scene, name, codec, pixel_format):
    frames = scene if pixel_format == "gray" else np.repeat(scene[..., None], 3, 3)
    movie = open_movie(write(tmp_path / name, frames, codec, pixel_format))
    assert movie.info.n_frames == 40
    assert np.array_equal(movie.read(0, 40), scene)
    for n in (39, 2, 17, 16, 30):
        assert np.array_equal(movie.read(n, n + 1)[0], scene[n])
    movie.close()


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "g": "15", "crf": "10"}),
        ("a.mkv", "libx264", {"bf": "3", "g": "15", "crf": "10"}),
        ("a.avi", "libx264", {"bf": "0", "g": "15", "crf": "10"}),
        ("a.avi", "mpeg4", {"b": "8M"}),
        ("a.avi", "mjpeg", {"b": "20M"}),
        ("a.mkv", "mjpeg", {"b": "20M"}),
        ("a.avi", "huffyuv", {}),
    ],
)
def test_videos_with_colour_planes_give_each_frame_its_place(tmp_path, scene, name, codec, options):
    layout = {"huffyuv": "yuv422p", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    movie = open_movie(write(tmp_path / name, scene, codec, layout, options=options))
    whole = movie.read(0, 40)
    assert movie.info.n_frames == 40
    for n in (39, 2, 31, 16, 17):
        assert np.array_equal(movie.read(n, n + 1)[0], whole[n])
    wide = whole.astype(float)
    if layout != "yuvj420p":  # luma is stored with a limited range and read as stored
        wide = (wide - 16) * 255 / 219
    nearest = [int(np.argmin([np.abs(image - other).mean() for other in scene])) for image in wide]
    assert nearest == list(range(40))
    movie.close()


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [("a.avi", "huffyuv", "yuv422p"), ("a.avi", "mjpeg", "yuvj420p"), ("a.mp4", "libx264", "gray")],
)
def test_luma_is_read_as_it_was_stored(tmp_path, scene, name, codec, layout):
    path = write(tmp_path / name, scene, codec, layout, options={"crf": "0"} if codec == "libx264" else {})
    with av.open(path) as container:
        stored = np.stack([frame.to_ndarray()[:48] for frame in container.decode(video=0)])
    movie = open_movie(path)
    assert np.array_equal(movie.read(0, 40), stored)
    assert np.array_equal(movie.read(17, 19), stored[17:19])
    movie.close()


@pytest.mark.parametrize(
    ("codec", "exact"), [("GREY", True), ("FFV1", True), ("MJPG", False), ("HFYU", True)]
)
def test_videos_of_opencv_are_read(tmp_path, scene, codec, exact):
    path = str(tmp_path / "a.avi")
    gray = codec in ("GREY", "FFV1", "MJPG")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*codec), 20, (64, 48), isColor=not gray)
    assert writer.isOpened()
    for image in scene:
        writer.write(image if gray else np.repeat(image[..., None], 3, 2))
    writer.release()
    movie = open_movie(path)
    found = movie.read(0, 40).astype(float)
    movie.close()
    if exact:
        assert np.array_equal(found, scene)
    assert np.abs(found - scene).mean() < 2


def test_odd_widths_are_read_without_their_padding(tmp_path, scene):
    odd = np.ascontiguousarray(scene[:, :31, :45])
    movie = open_movie(write(tmp_path / "a.avi", odd, "ffv1", "gray"))
    assert np.array_equal(movie.read(0, 40), odd)
    movie.close()


def test_the_header_rate_is_used_with_a_warning(tmp_path, scene):
    movie = open_movie(write(tmp_path / "a.mkv", scene, "ffv1", "gray", rate=25))
    assert movie.info.fps == pytest.approx(25)
    assert "taken from its header, 25 fps" in movie.info.warnings[0]
    assert movie.times_s[5] == pytest.approx(0.2)
    movie.close()


def test_the_header_rate_of_miniscope_software_is_not_believed(tmp_path, scene):
    path = write(tmp_path / "0.avi", scene, "ffv1", "gray", rate=60)
    movie = open_movie(path)
    assert movie.info.fps is None
    assert "--fps" in movie.info.warnings[0]
    movie.close()
    told = open_movie(path, fps=20)
    assert told.info.fps == 20
    assert told.info.warnings == ()
    told.close()


def test_metadata_beside_a_single_file_is_used(tmp_path, scene):
    path = write(tmp_path / "3.avi", scene, "ffv1", "gray", rate=60)
    meta = {"deviceName": "Scope", "deviceType": "Miniscope_V4", "frameRate": 30}
    (tmp_path / "metaData.json").write_text(json.dumps(meta))
    movie = open_movie(path)
    assert (movie.info.fps, movie.info.um_per_px, movie.info.device) == (30, 1.65, "Scope")
    assert "read alone" in movie.info.warnings[0]
    movie.close()


@pytest.mark.parametrize(("codec", "header"), [("rawvideo", True), ("rawvideo", False), ("ffv1", True)])
def test_an_avi_that_was_cut_off_is_read_as_far_as_whole_frames_go(tmp_path, scene, codec, header):
    path = tmp_path / "a.avi"
    write(path, scene, codec, "gray")
    contents = bytearray(path.read_bytes()[: path.stat().st_size * 2 // 3])
    if not header:
        contents[4:8] = bytes(4)  # sizes and counts are filled in when a file is closed
        at = contents.find(b"avih")
        contents[at + 24 : at + 28] = bytes(4)
        at = contents.find(b"strh")
        contents[at + 40 : at + 44] = bytes(4)
    path.write_bytes(contents)
    movie = open_movie(str(path), fps=20)
    n = movie.info.n_frames
    assert 20 <= n <= 30
    assert np.array_equal(movie.read(0, n), scene[:n])
    assert np.array_equal(movie.read(5, 7), scene[5:7])
    movie.close()


def test_a_cut_off_mkv_is_read_too(tmp_path, scene):
    path = tmp_path / "a.mkv"
    write(path, scene, "ffv1", "gray")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    movie = open_movie(str(path), fps=20)
    n = movie.info.n_frames
    assert 20 <= n <= 30
    assert np.array_equal(movie.read(n - 1, n)[0], scene[n - 1])
    assert np.array_equal(movie.read(0, n), scene[:n])
    movie.close()


@pytest.mark.parametrize(
    ("name", "codec", "fmt"), [("a.mp4", "libx264", "yuv420p"), ("a.avi", "rawvideo", "bgr24")]
)
def test_a_colour_movie_is_refused(tmp_path, scene, name, codec, fmt):
    colour = np.repeat(scene[..., None], 3, 3)
    colour[..., 0] //= 3
    with pytest.raises(SourceError, match=r"frame 0 .*in colour.*behaviour"):
        open_movie(write(tmp_path / name, colour, codec, fmt))


def test_more_than_8_bits_in_colour_planes_are_refused(tmp_path, scene):
    deep = scene.astype(np.uint16) * 200
    with pytest.raises(
        SourceError, match=r"10 bits per pixel in colour planes \(yuv420p10le\).*convert it to gray"
    ):
        open_movie(write(tmp_path / "a.mkv", deep, "ffv1", "yuv420p10le"))


def test_a_change_of_size_in_mid_file_is_named(tmp_path, scene):
    small = np.ascontiguousarray(scene[:, :32, :32])
    path, parts = tmp_path / "a.avi", []
    for n, frames in enumerate((scene, small)):
        write(tmp_path / f"part{n}.avi", frames, "mjpeg", "yuvj420p")
        with av.open(str(tmp_path / f"part{n}.avi")) as container:
            parts += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for n, data in enumerate(parts):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = stream, n, n
            container.mux(packet)
    with pytest.raises(SourceError, match=r"32x32 px, but the recording began with 48x64"):
        open_movie(str(path))


def test_an_unknown_codec_is_named(tmp_path, scene):
    path = tmp_path / "a.avi"
    write(path, scene, "rawvideo", "gray")
    path.write_bytes(path.read_bytes().replace(b"Y800", b"ZZZZ"))
    with pytest.raises(SourceError, match=r"codec .*not known.*re-encode"):
        open_movie(str(path))


def test_a_codec_that_cannot_be_decoded_is_named(tmp_path, scene):
    path = tmp_path / "a.avi"
    write(path, scene, "rawvideo", "gray")
    path.write_bytes(path.read_bytes().replace(b"Y800", b"LAGS"))
    with pytest.raises(SourceError, match=r"could not be decoded.*re-encode"):
        open_movie(str(path))


@pytest.mark.parametrize("contents", [b"hello\n" * 200, bytes(4000)])
def test_files_that_are_no_video_are_named(tmp_path, contents):
    (tmp_path / "a.avi").write_bytes(contents)
    with pytest.raises(SourceError, match=r"a video was expected, but .*a\.avi"):
        open_movie(str(tmp_path / "a.avi"))


def test_one_frame_or_none_is_no_movie(tmp_path, scene):
    path = write(tmp_path / "a.avi", scene[:1], "ffv1", "gray")
    with pytest.raises(SourceError, match="at least 2 frames"):
        open_movie(path)
    one = (tmp_path / "a.avi").read_bytes()
    for contents in (b"", one[: one.find(b"movi") + 4]):
        (tmp_path / "a.avi").write_bytes(contents)
        with pytest.raises(SourceError, match="holds none"):
            open_movie(path)
