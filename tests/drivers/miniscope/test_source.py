"""The device as a source: found again at its port, listed, and opened on the model."""

from __future__ import annotations

import pytest

from streamscope.errors import SourceError
from streamscope_drivers.miniscope import camera, source
from streamscope_drivers.miniscope.camera import Found, backends


def test_a_box_that_comes_back_under_another_index_is_found_by_its_port(monkeypatch):
    cameras = [Found(0, "MINISCOPE", "1-2:1.0"), Found(2, "MINISCOPE", "1-4:1.0")]
    monkeypatch.setattr(camera, "found_cameras", lambda: cameras)
    place = camera.Place(2)
    assert place() == 2
    cameras[:] = [Found(0, "MINISCOPE", "1-2:1.0"), Found(4, "MINISCOPE", "1-4:1.0")]
    assert place() == 4
    cameras.clear()
    assert place() == 2
    assert camera.Place(7)() == 7  # where no ports are known, the index stays


def test_cameras_are_listed_with_name_and_port(monkeypatch):
    monkeypatch.setattr(source, "found_cameras", lambda: [Found(2, "MINISCOPE", "1-4:1.0")])
    assert source.list_cameras() == ["camera 2   MINISCOPE  1-4:1.0"]


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_every_system_has_a_way_to_open_a_camera(monkeypatch, platform):
    monkeypatch.setattr("sys.platform", platform)
    names = [backend.name for backend in backends()]
    assert names == {"linux": ["V4L2", "any"], "win32": ["MSMF", "DSHOW", "any"]}.get(platform, ["any"])


@pytest.mark.parametrize("index", ["", "x", "-1", "1.5"])
def test_an_index_is_a_number_or_the_model(index):
    with pytest.raises(SourceError, match="expected the number of a camera, or model"):
        source.open_device("miniscope:v4", index)
