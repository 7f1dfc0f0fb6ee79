"""What a live session can begin with: given regions, and a cell diameter that is measured first."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import ConfigError, SourceError
from streamscope.offline.diameter import DiameterEstimate
from streamscope.session.plan import make_live_plan
from streamscope.session.registry import open_movie
from streamscope.session.runner import run_session
from streamscope.storage.journal import JournalReader
from streamscope.storage.room import room_for
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from streamscope.testing.firmware import tissue
from tests.session.live_devices import SHAPE, Until, use_model


@pytest.fixture(autouse=True)
def no_waiting_for_subscribers(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    monkeypatch.setattr("streamscope.session.looking.LOOK_S", 6.0)


@pytest.fixture
def plan(tmp_path):
    def make(tell=None, **given):
        values = {"cell_diameter": "8px", "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0"}
        values |= {"device.led": 30.0, "fps": 30.0, **given}
        return make_live_plan("miniscope:v4", "0", from_toml(None, values), refit=False, tell=tell)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("side", [1, 2])
def test_given_regions_are_read_out_from_the_first_frame_of_a_device(plan, monkeypatch, side):
    made = use_model(monkeypatch)
    outcome = run_session(plan(rois="grid:24px", cell_diameter="16px", **{"prepare.bin": side}), Until(60))
    with JournalReader(outcome.folder / "journal.sqlite", (SHAPE[0] // side, SHAPE[1] // side)) as journal:
        results = [result for result, _ in journal.results()]
    assert results[0].index == 0  # later ones may be given up by a pipeline that compiles or is kept waiting
    assert len(results) > 30
    for result in results:
        assert result.ids.tolist() == list(range(1, 17))
        assert np.isfinite(result.y).all()
    assert np.abs(results[0].y).max() < 1.0  # the first frame is the first idea of the background
    assert open_session(outcome.folder).ours["config"]["rois"] == "grid:24px"
    assert made[0][1].light == 0


def test_the_cells_are_measured_with_the_light_on_and_the_session_then_begins_with_frame_0(plan, monkeypatch):
    made, said, seen = use_model(monkeypatch), [], []

    def estimate(movie, fps):
        ((_, model),) = made
        for _ in range(200):  # packets reach the scope when a frame has ended
            if model.light:
                threading.Event().wait(0.01)
        seen.append((movie.info.n_frames, movie.read(3, 5), model.light, fps))
        return DiameterEstimate(9.0, 0.9, 20)

    monkeypatch.setattr("streamscope.offline.diameter.estimate_diameter", estimate)
    ready = plan(said.append, cell_diameter="auto")
    ((n, images, light, fps),) = seen
    assert 3 * fps < n < 7 * fps  # a busy machine may lose some
    assert images.shape == (2, *SHAPE)
    assert images.mean() > 20  # lit
    assert light == 0  # and dark again
    assert said == ["measuring the cell diameter: 6 s with the light on, before the session begins"]
    assert (ready.engine.cell_diameter_px, ready.diameter.n_sites) == (9.0, 20)
    outcome = run_session(ready, Until(60), fake_engine())
    session = open_session(outcome.folder)
    assert session.ours["estimates"]["cell_diameter"]["diameter_px"] == 9.0
    movie = open_movie(str(outcome.folder))
    assert movie.info.n_frames == outcome.n_frames
    assert movie.read(0, 1).mean() > 20
    movie.close()


def test_what_a_session_begins_with_is_of_prepared_frames(plan, monkeypatch, tmp_path):
    use_model(monkeypatch)
    seen = []

    def estimate(movie, fps):
        seen.append((movie.info.shape, movie.info.bits, movie.read(3, 5).shape, fps))
        return DiameterEstimate(9.0, 0.9, 20)

    monkeypatch.setattr("streamscope.offline.diameter.estimate_diameter", estimate)
    prepare = {"prepare.crop": "8:96,0:96", "prepare.bin": 2, "prepare.bin_frames": 3}
    ready = plan(cell_diameter="auto", rois="grid:24px", **prepare)
    came = ready.source_info
    assert seen == [((44, 48), 16, (2, 44, 48), came.fps / 3)]
    assert (ready.engine.cell_diameter_px, ready.engine.bits, ready.info.shape) == (9.0, 16, (44, 48))
    assert (ready.rois.shape, ready.rois.n) == ((44, 48), 12)
    assert ready.room.bytes_per_s == room_for(tmp_path, SHAPE, came.fps).bytes_per_s  # of frames as they come
    ready.close()


def test_a_diameter_that_cannot_be_told_is_refused_and_the_light_is_off(plan, monkeypatch):
    made = use_model(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"cannot be told from 6 s of this field: .* is the light on \(--led\)"
    ):
        plan(cell_diameter="auto", **{"device.led": 0.0})
    ((_, model),) = made
    assert model.light == 0
    assert model._camera is None


def test_a_camera_that_stops_during_the_look_is_said(plan, monkeypatch):
    made = use_model(monkeypatch)
    monkeypatch.setattr("streamscope_drivers.miniscope.source.NOTHING_S", 0.3)

    def unplug(text):
        made[0][1].unplug()

    with pytest.raises(
        SourceError, match=r"no frame came for 0\.3 s while the cells were looked at, expected 6 s"
    ):
        plan(unplug, cell_diameter="auto")


@pytest.mark.slow
def test_cells_of_simulated_tissue_are_measured_by_a_look(monkeypatch, plan):
    use_model(monkeypatch, pictures=tissue(SHAPE, 1200))
    monkeypatch.setattr("streamscope.session.looking.LOOK_S", 30.0)
    ready = plan(cell_diameter="auto")
    known = plan(cell_diameter="13um")
    assert ready.engine.cell_diameter_px == pytest.approx(known.engine.cell_diameter_px, rel=0.2)
    ready.close()
    known.close()
