"""The boundary: pictures out of raw frames, and the cameras that Linux lists."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.miniscope.camera import Found, Property, found_cameras, luma

SHAPE = (6, 8)
PICTURE = np.arange(48, dtype=np.uint8).reshape(SHAPE)


@pytest.mark.parametrize("shape", [(1, 96), (6, 8, 2), (6, 16), (96,)])
def test_the_picture_is_the_even_bytes_whatever_the_shape_of_a_raw_frame(shape):
    raw = np.full((*SHAPE, 2), 200, np.uint8)
    raw[:, :, 0] = PICTURE
    got = luma(raw.reshape(shape), SHAPE)
    np.testing.assert_array_equal(got, PICTURE)
    assert not np.shares_memory(got, raw)


@pytest.mark.parametrize("raw", [np.zeros((6, 8, 3), np.uint8), np.zeros((1, 94), np.uint8)])
def test_a_converted_frame_or_one_of_another_size_is_refused(raw):
    with pytest.raises(SourceError, match="expected raw YUY2 of 8x6 px"):
        luma(raw, SHAPE)


def test_properties_have_the_numbers_of_opencv():
    cv2 = pytest.importorskip("cv2")
    for known in Property:
        assert getattr(cv2, f"CAP_PROP_{known.name}") == known


def test_linux_lists_each_camera_once(tmp_path):
    for node, index, name in (
        ("video2", "0", "MINISCOPE"),
        ("video3", "1", "MINISCOPE"),
        ("video10", "0", "Cam"),
    ):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(index + "\n")
        (tmp_path / node / "name").write_text(name + "\n")
    assert found_cameras(tmp_path) == [Found(2, "MINISCOPE", ""), Found(10, "Cam", "")]
    assert found_cameras(tmp_path / "none") == []
