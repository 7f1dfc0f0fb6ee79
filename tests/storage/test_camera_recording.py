"""The recording of a behaviour camera: files that others read, also after a crash, and a disk that fills up."""

from __future__ import annotations

from collections import namedtuple

import av
import cv2
import numpy as np
import pytest

from streamscope.errors import StorageError
from streamscope.storage import camera_recording
from streamscope.storage.avi import MJPG, Avi
from streamscope.storage.camera_recording import CameraRecording
from streamscope.types import CameraInfo, Picture

SHAPE = (40, 56)
IMAGES = [np.full((*SHAPE, 3), (20, 10 * k, 200), np.uint8) for k in range(12)]
JPEGS = [bytes(cv2.imencode(".jpg", image)[1]) + bytes(k % 2) for k, image in enumerate(IMAGES)]
INFO = CameraInfo("BehavCam", "webcam:0", SHAPE, 30.0, meta={"deviceType": "WebCam-56x40", "deviceID": 0})


def colours(path):
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="bgr24").mean(axis=(0, 1)) for frame in video.decode(video=0)]


def test_files_are_numbered_and_hold_the_pictures_byte_for_byte(tmp_path):
    recording = CameraRecording(tmp_path, INFO, frames_per_file=5)
    for k, jpeg in enumerate(JPEGS):
        recording.append(k, k / 30, Picture(0, jpeg, int(k == 3)), waiting=k)
    recording.commit()
    recording.close()
    recording.close()
    assert [len(colours(tmp_path / "BehavCam" / f"{n}.avi")) for n in range(3)] == [5, 5, 2]
    seen = np.concatenate([colours(tmp_path / "BehavCam" / f"{n}.avi") for n in range(3)])
    np.testing.assert_allclose(seen, [image.mean(axis=(0, 1)) for image in IMAGES], atol=3)
    data = (tmp_path / "BehavCam" / "0.avi").read_bytes()
    assert all(jpeg in data for jpeg in JPEGS[:5])
    rows = (tmp_path / "BehavCam" / "timeStamps.csv").read_text().splitlines()
    assert rows[0] == "Frame Number,Time Stamp (ms),Buffer Index,Frames Missing"
    assert rows[4] == "3,100,3,1"


def test_an_index_finds_pictures_of_any_size(tmp_path):
    video = Avi(tmp_path / "0.avi", SHAPE, 30.0, MJPG)
    for jpeg in JPEGS:
        video.append(jpeg)
    video.close()
    reader = cv2.VideoCapture(str(tmp_path / "0.avi"))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    reader.set(cv2.CAP_PROP_POS_FRAMES, 9)
    np.testing.assert_allclose(reader.read()[1].mean(axis=(0, 1)), IMAGES[9].mean(axis=(0, 1)), atol=3)
    reader.release()


def test_jpegs_without_their_tables_as_webcams_send_them_are_read_too(tmp_path):
    video = Avi(tmp_path / "0.avi", SHAPE, 30.0, MJPG)
    for jpeg in JPEGS:
        bare = without_tables(jpeg)
        assert len(bare) < len(jpeg)
        video.append(bare)
    video.close()
    np.testing.assert_allclose(
        colours(tmp_path / "0.avi"), [image.mean(axis=(0, 1)) for image in IMAGES], atol=3
    )


def without_tables(jpeg):
    """Leave out the usual Huffman tables, which readers of MJPG know."""
    out, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        size = 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        out += b"" if jpeg[at + 1] == 0xC4 else jpeg[at : at + size]
        at += size
    return out + jpeg[at:]


@pytest.mark.parametrize("lost", [0, 100])
def test_a_file_that_was_never_finished_is_read_to_its_last_whole_picture(tmp_path, lost):
    video = Avi(tmp_path / "0.avi", SHAPE, 30.0, MJPG)
    for jpeg in JPEGS:
        video.append(jpeg)
    video._file.flush()
    data = (tmp_path / "0.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) - lost])
    video.close()
    assert len(colours(tmp_path / "cut.avi")) >= 12 - bool(lost)


def test_the_last_half_gigabyte_belongs_to_the_scope(tmp_path, monkeypatch):
    recording = CameraRecording(tmp_path, INFO)
    recording.append(0, 0.0, Picture(0, JPEGS[0]))
    usage = namedtuple("usage", "total used free")(1, 1, 400_000_000)
    monkeypatch.setattr(camera_recording.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(StorageError, match="400 MB free, expected more than 500 MB"):
        recording.commit()
    recording.close()
    assert len(colours(tmp_path / "BehavCam" / "0.avi")) == 1


def test_a_folder_that_is_there_already_is_not_written_into(tmp_path):
    (tmp_path / "BehavCam").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        CameraRecording(tmp_path, INFO)
