"""A preview on the model of the firmware: what is seen and published, settings, and the light at every end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.cli.sight import SightScreen, advice, angles, blocks, lines, settings_lines
from streamscope.core.view import View
from streamscope.errors import WireError
from streamscope.session.preview import Sight, run_preview
from streamscope.types import MovieInfo
from streamscope.wire.client import Subscriber
from streamscope.wire.publisher import Publisher
from tests.session.live_devices import SHAPE, model_device

pytestmark = pytest.mark.slow  # whole sessions

TEXTURE = np.random.default_rng(2).integers(40, 120, SHAPE).astype(np.uint8)
INFO = MovieInfo("miniscope:v4", (), SHAPE, 0, 20.0, meta={"metadataFrom": "frame"})


def device_on(kind="v4-bno", **values):
    device, model = model_device(kind, {"led": 30.0, "fps": 30.0, **values}, speed=6.0)
    model.sharp_at = 30.0
    model._make = lambda number: TEXTURE
    return device, model


def previewed(device, act):
    """Run a preview, have somebody act on its address, and return what was known last."""
    errors = []

    def bound(endpoints):
        def go():
            try:
                act(endpoints.data)
            except BaseException as error:
                errors.append(error)
            finally:
                with Subscriber(endpoints.data, "status/") as session:
                    session.ask("stop")

        threading.Thread(target=go, daemon=True).start()

    sight = run_preview(device, "127.0.0.1:0", bound=bound)
    assert not errors, errors
    return sight


def next_view(session, after=-1):
    return next(m for m in session if getattr(m, "name", "") == "view" and m.frame > after)


def test_settings_are_changed_while_sharpness_light_and_pictures_are_published():
    device, model = device_on()
    seen = {}

    def act(endpoint):
        with Subscriber(endpoint, ("events/", "image/", "status/")) as session:
            first = next_view(session)
            reply = session.ask("set", values={"focus": 30, "led": 60})
            seen["image"] = next(m for m in session if m.topic == "image/")
            seen["views"] = first, next_view(session, reply["frame"])
            for values in ({"led": 300}, {"exposure": 3}):
                with pytest.raises(WireError):
                    session.ask("set", values=values)
            with pytest.raises(WireError, match="nothing is learned"):
                session.ask("freeze")
            seen["health"] = next(m for m in session if m.topic == "status/" and m.health.frame > 0).health
            next_view(session, next_view(session).frame + 30)
            seen["light"] = model.light

    sight = previewed(device, act)
    before, after = (m.fields for m in seen["views"])
    assert after["sharpness"] > 1.3 * before["sharpness"]  # the model's picture is sharp at 30
    assert after["mean"] == pytest.approx(2 * before["mean"], rel=0.1)
    assert sum(after["histogram"]) == SHAPE[0] * SHAPE[1] // 4
    assert seen["image"].image.shape == SHAPE
    assert seen["health"].state == "preview"
    assert seen["light"] == pytest.approx(0.6, abs=0.01)
    assert (sight.settings["focus"], sight.settings["led"]) == (30.0, 60.0)
    assert sight.best_focus[0] == 30.0
    assert sight.orientation_ok
    assert sight.fps == pytest.approx(30.3, rel=0.15)
    assert model.light == 0
    assert model._camera is None


def test_the_light_goes_out_when_the_device_fails(monkeypatch):
    device, model = device_on("v4")
    device._capture._watch.frame = None  # a fault in the camera's thread
    with pytest.raises(TypeError):
        run_preview(device, "127.0.0.1:0")
    assert model.light == 0
    assert model._camera is None


def test_the_light_is_off_when_the_ports_are_taken():
    device, model = device_on("v4")
    with Publisher("127.0.0.1:0") as other, pytest.raises(WireError, match="is in use"):
        run_preview(device, other.endpoints.data.removeprefix("tcp://"))
    assert model.light == 0
    assert model._camera is None


def test_the_command_ends_by_signal_with_the_settings_as_a_command_line(monkeypatch):
    made = []

    def opens(spec, index, values, um_per_px=None):
        made.append(device_on(spec.removeprefix("miniscope:"), **values))
        return made[0][0]

    monkeypatch.setattr("streamscope.session.registry.open_device", opens)
    show = SightScreen.show

    def shown(self, sight):
        show(self, sight)
        if sight.frame > 10:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SightScreen, "show", shown)
    words = ["--device", "miniscope:v4", "--led", "15", "--gain", "medium", "--bind", "127.0.0.1:0"]
    result = CliRunner().invoke(app, ["preview", *words])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == (
        "streamscope live --device miniscope:v4 --index 0 --gain medium --fps 30 --focus 0 --led 15"
    )
    assert 'gain = "medium"' in result.stdout
    assert "sharpness" in result.stderr  # a line, where there is no terminal
    assert made[0][1].light == 0


def test_the_printed_settings_are_those_of_a_settings_file(tmp_path):
    from streamscope.config import from_toml

    settings = {"fps": 20.0, "gain": "low", "focus": -12.5, "led": 15.0}
    text = "\n".join(list(settings_lines("miniscope:v4", "0", settings))[1:])
    (tmp_path / "s.toml").write_text(text)
    config = from_toml(tmp_path / "s.toml")
    assert (config.fps, config.device.gain, config.device.focus, config.device.led) == (20, "low", -12.5, 15)
    exposed = list(settings_lines("miniscope:v3-legacy", "0", {"gain": 16.0, "exposure": 200.0}))
    assert "exposure" not in exposed[0]  # live has no such option, but the file has
    assert "exposure = 200" in exposed


def view(**fields):
    histogram = np.arange(64)
    return View(
        **{"sharpness": 3.0, "mean": 80, "low": 10, "high": 200, "saturated": 0.0, "dark": 0.0, **fields},
        histogram=histogram,
    )


def test_the_screen_says_what_to_do():
    sight = Sight({"led": 20.0, "gain": "low"}, view(), 40, 29.9, 0.4, 2, (1.0, 0.0, 0.0, 0.0), True, 1)
    sight.best = {-10.0: 4.0, 0.0: 3.0}
    text = "\n".join(lines(sight, INFO))
    for part in (
        "best 4.00 at focus -10",
        "led 20, gain low",
        "lost 2 (counter from: frame)",
        "yaw +0, pitch +0, roll +0",
        "0 high, 1 low",
    ):
        assert part in text
    assert "lower led or gain" in advice(view(saturated=4.0), 255)
    assert "raise led or gain" in advice(view(high=30), 255)
    assert advice(view(), 255) == ""
    assert blocks(np.array([0, 1, 10_000])) == " ▁█"
    assert "waiting for a picture" in next(lines(Sight({}, trouble="device lost"), INFO))


def test_a_quaternion_is_shown_as_angles():
    half = np.sqrt(0.5)
    assert angles(half, 0, 0, half) == pytest.approx((90, 0, 0))
    assert angles(half, 0, half, 0)[1] == pytest.approx(90)
    assert angles(half, half, 0, 0) == pytest.approx((0, 0, 90))


# The program ends by an error while a preview runs. What is registered first is called last.
CRASH = """
import atexit, sys, threading
sys.path.insert(0, sys.argv[1])
made = []
atexit.register(lambda: sys.stdout.write(f"light {made[0].light:g}"))
from tests.session.live_devices import model_device
from streamscope.session.preview import Preview, run_preview
device, model = model_device(values={"led": 30})
made.append(model)
def show(sight):
    if sight.frame > 20:
        assert model.light > 0.2
        raise RuntimeError("crash")
run_preview(device, "127.0.0.1:0", show)
"""


@pytest.mark.slow
def test_the_light_goes_out_with_the_program(request):
    command = [sys.executable, "-c", CRASH, str(request.config.rootpath)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "light 0", done.stderr
    assert "RuntimeError: crash" in done.stderr
