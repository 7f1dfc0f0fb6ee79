"""What the system tells of the box on the USB: a slow port, and a box that runs no program."""

from __future__ import annotations

import pytest

from streamscope_drivers.miniscope import camera, source
from streamscope_drivers.miniscope.usb import bare_box, slow_port


def device(root, port, product, name, speed, node=None):
    place = root / "bus" / "usb" / "devices" / port
    place.mkdir(parents=True)
    facts = {"idVendor": "04b4", "idProduct": product, "product": name, "speed": speed}
    for key, value in facts.items():
        (place / key).write_text(value + "\n")
    if node is not None:
        video = root / "class" / "video4linux" / node
        video.mkdir(parents=True)
        (place / "interface").mkdir()
        (video / "device").symlink_to(place / "interface", target_is_directory=True)


@pytest.mark.parametrize(
    ("product", "speed", "slow"), [("00f9", "5000", False), ("00f9", "480", True), ("00f8", "480", True)]
)
def test_a_box_at_usb_2_is_said(tmp_path, product, speed, slow):
    try:
        device(tmp_path, "2-1", product, "MINISCOPE", speed, "video0")
    except OSError:
        pytest.skip("no symbolic links here")
    said = slow_port(0, tmp_path)
    assert bool(said) is slow
    assert slow is ("by USB 2 (480 Mbit/s), expected USB 3" in said)
    assert slow_port(1, tmp_path) == slow_port(0, tmp_path / "none") == ""
    assert bare_box(tmp_path) == ""


@pytest.mark.parametrize("name", ["WestBridge", "Cypress FX3 USB BootLoader Device"])
def test_a_box_without_its_program_is_why_there_is_no_camera(tmp_path, monkeypatch, name):
    device(tmp_path, "1-4", "00f3", name, "480")
    assert f"it is called {name}), expected MINISCOPE; set its jumper back" in bare_box(tmp_path)
    monkeypatch.setattr(camera, "bare_box", lambda: bare_box(tmp_path))
    monkeypatch.setattr(source, "bare_box", lambda: bare_box(tmp_path))
    assert "runs no program" in camera.why_not(0)
    assert source.list_cameras()[-1].startswith("note   a box is connected that runs no program")


def test_why_a_camera_does_not_open(tmp_path, monkeypatch):
    monkeypatch.setattr(camera, "bare_box", lambda: "")
    monkeypatch.setattr(camera.sys, "platform", "win32")
    assert "there is none, or another program holds it; close that program" in camera.why_not(0)
    monkeypatch.setattr(camera.sys, "platform", "linux")
    assert "there is no camera 97 (/dev/video97 does not exist)" in camera.why_not(97)
    monkeypatch.setattr(camera, "Path", lambda name: tmp_path)
    monkeypatch.setattr(camera.os, "access", lambda *_: False)
    assert "may not be opened; add yourself to the group video" in camera.why_not(0)
