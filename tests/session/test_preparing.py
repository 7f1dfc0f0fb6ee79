"""Whole sessions on prepared frames: recordings keep what came, live and refit see the same, exports fit it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streamscope.config import Preparation, from_toml
from streamscope.errors import ConfigError
from streamscope.offline.export import export_session
from streamscope.session import refitting
from streamscope.session.plan import make_plan
from streamscope.session.preparing import PreparedMovie, prepared_movie, session_frames
from streamscope.session.refitting import refit_from_source
from streamscope.session.registry import open_movie
from streamscope.session.rois import read_rois
from streamscope.session.runner import run_session
from streamscope.session.seeding import read_seed
from streamscope.storage.session_folder import open_session
from streamscope.storage.session_record import open_live
from streamscope.testing.daq_qt import DaqSettings, write_recording
from streamscope.testing.fake_engine import fake_engine
from streamscope.testing.fake_session import fake_refit
from streamscope.types import FLAG_BAD_MOTION

N, SHAPE = 60, (96, 110)
IMAGES = np.random.default_rng(8).integers(0, 255, (N, *SHAPE)).astype(np.uint8)
WANTED = {"prepare.crop": "9:89,20:109", "prepare.bin": 2, "prepare.bin_frames": 3}


@pytest.fixture(autouse=True)
def no_waiting_for_subscribers(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)


def plan_of(source, out, speed=None, record=False, refit=False, seed=None, **given):
    always = {"cell_diameter": "16px", "out": str(out), "wire.bind": "127.0.0.1:0"}
    config = from_toml(None, {**always, **given})
    return make_plan(str(source), config, speed, record=record, refit=refit, seed=seed)


def test_what_was_recorded_is_what_came_and_is_refitted_as_it_was_seen(tmp_path, monkeypatch):
    settings = DaqSettings(lost_before={20: 3, 41: 7})
    write_recording(tmp_path / "original", IMAGES, 20.0, settings=settings)
    plan = plan_of(tmp_path / "original", tmp_path / "out", record=True, **WANTED)
    assert (plan.info.shape, plan.engine.bits, plan.engine.cell_diameter_px) == ((40, 44), 16, 8)
    assert plan.engine.fps == pytest.approx(20 / 3)
    outcome = run_session(plan, None, fake_engine())
    plan.close()
    original, recorded = open_movie(str(tmp_path / "original")), open_movie(str(outcome.folder))
    np.testing.assert_array_equal(recorded.read(0, N), IMAGES)
    assert (recorded.info.fps, recorded.info.um_per_px) == (original.info.fps, original.info.um_per_px)
    seen = PreparedMovie(original, plan.engine.prepare)
    assert outcome.n_frames == plan.n_frames == seen.info.n_frames == 22
    assert seen.info.um_per_px == 2 * original.info.um_per_px
    with open_live(open_session(outcome.folder)) as live:
        frames = live.frames()
    np.testing.assert_array_equal(frames.gap, seen.gap)
    np.testing.assert_allclose(frames.time_s, seen.times_s, atol=2e-9)
    refitted = []

    def refit(movie, config, live, ids, shifts, progress):
        refitted.append(movie.read(0, movie.info.n_frames))
        return fake_refit(movie.info.n_frames)

    monkeypatch.setattr("streamscope.offline.refit.refit", refit)
    monkeypatch.setattr(refitting, "add_refit", lambda folder, result: None)
    refit_from_source(open_session(outcome.folder))
    np.testing.assert_array_equal(refitted[0], seen.read(0, 22))
    np.testing.assert_array_equal(refitted[0][5:9], seen.read(5, 9))  # in any order
    for movie in (original, recorded):
        movie.close()


def test_a_hole_in_a_recording_leaves_its_means_where_they_were():
    plan = from_toml(None, {}).prepare
    prepare = plan_like(plan, bin_frames=2)
    recorded = np.array([0, 1, 2, 3, 8, 9, 10])  # 4 to 7 were not recorded
    gap = np.array([0, 0, 0, 0, 4, 0, 0], np.int32)
    session_gap = np.zeros(6, np.int64)
    assert session_frames(recorded, gap, prepare, session_gap).tolist() == [0, 1, 4, 5]
    assert session_frames(recorded, gap, plan_like(plan), session_gap).tolist() == recorded.tolist()


def plan_like(config, **changed):
    return Preparation(bin=config.bin, bin_frames=changed.get("bin_frames", 1), source_shape=SHAPE)


def test_nothing_is_in_the_way_where_nothing_is_prepared(tmp_path):
    np.save(tmp_path / "movie.npy", IMAGES)
    plan = plan_of(tmp_path / "movie.npy", tmp_path, fps=20.0)
    assert not plan.engine.prepare.changes
    assert prepared_movie(plan.movie, plan.engine.prepare) is plan.movie
    assert plan.info == plan.movie.info
    plan.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prepare.crop": "0:400,0:50"}, "expected rows within 0:96"),
        ({"prepare.crop": "0:20,0:50"}, "expected 32 or more"),
        ({"prepare.bin": 4}, "expected 32 or more"),
        ({"prepare.crop": "0:50,0:50;0:9,0:9"}, "expected one rectangle"),
        ({"prepare.blank": "0:1"}, "blank is '0:1'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, given, said):
    np.save(tmp_path / "movie.npy", IMAGES)
    with pytest.raises(ConfigError, match=said):
        plan_of(tmp_path / "movie.npy", tmp_path, fps=20.0, **given)


def blinking(shape=(120, 130), n=160):
    """Return a movie of a blinking square on tissue, seen through a lens; every tenth frame comes twice."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 0.05 + 0.95 / (1 + np.exp((np.hypot(y - 62, x - 56) - 45) / 1.0))
    tissue = 130 + 12 * rng.normal(size=shape)
    movie = np.empty((n, *shape), np.uint8)
    for t in range(n):
        image = tissue.copy()
        image[56:72, 48:64] += 40 * (120 <= t < 140)
        movie[t] = np.clip(image * light + rng.normal(0, 2, shape), 0, 255)
    movie[50] = movie[49]
    return movie


@pytest.mark.slow
def test_exports_of_a_cropped_session_lie_on_the_frames_of_its_source(tmp_path):
    np.save(tmp_path / "movie.npy", blinking())
    mask = np.zeros((120, 130), np.uint8)
    mask[56:72, 48:64] = 1
    np.save(tmp_path / "mask.npy", mask)
    given = {"rois": str(tmp_path / "mask.npy"), "fps": 20.0, "um_per_px": 1.5, "cell_diameter": "8px"}
    plan = plan_of(tmp_path / "movie.npy", tmp_path / "out", refit=True, **given)
    y0, y1, x0, x1 = plan.engine.prepare.crop
    assert np.abs(np.subtract((y0, y1, x0, x1), (15, 110, 9, 104))).max() <= 5
    assert np.abs(np.subtract(plan.engine.prepare.disc, (62, 56, 45))).max() < 3
    outcome = run_session(plan)
    plan.close()
    arrays = {}
    for which in ("live", "refit"):
        export_session(outcome.folder, tmp_path / f"{which}.npz", which)
        with np.load(tmp_path / f"{which}.npz") as file:
            arrays[which] = dict(file)
    for exported in arrays.values():
        assert exported["A"].shape == (120, 130, 1)
        np.testing.assert_array_equal(exported["A"][..., 0] > 0, mask > 0)
        assert exported["crop"].tolist() == [y0, y1, x0, x1]
        assert exported["b0"].shape == (120, 130)
        assert exported["field_y"][0] == y0
        assert (
            exported["C"][0, 122:138].mean()
            > exported["C"][0, 150:].mean() + 5 * exported["C"][0, 150:].std()
        )
        assert np.flatnonzero(exported["flags"] & FLAG_BAD_MOTION).tolist() == [50]
    np.testing.assert_array_equal(arrays["live"]["flags"], arrays["refit"]["flags"])
    told = json.loads((outcome.folder / "metaData.json").read_text())["streamscope"]["engine"]["prepare"]
    assert told["crop"] == [y0, y1, x0, x1]
    seed = tmp_path / "live.npz"
    for source in (outcome.folder, outcome.folder / "session.h5", seed):
        for prepare, shape in ((plan.engine.prepare, (y1 - y0, x1 - x0)), (None, (120, 130))):
            placed = read_seed(source, shape, 1.5, prepare)
            assert placed.image.shape == placed.footprints.shape == shape
            top, left = (y0, x0) if prepare else (0, 0)
            rows = placed.footprints.column(0)[0] // shape[1] + top
            columns = placed.footprints.column(0)[0] % shape[1] + left
            assert (rows.min(), rows.max(), columns.min(), columns.max()) == (56, 71, 48, 63)


def test_regions_of_a_file_are_in_the_whole_field_and_tiles_in_px_of_the_source(tmp_path):
    prepare = plan_like(from_toml(None, {"prepare.bin": 2}).prepare).model_copy(
        update={"crop": (20, 84, 40, 110)}
    )
    mask = np.zeros((48, 55), np.uint8)
    mask[15:20, 30:35] = 1
    np.save(tmp_path / "mask.npy", mask)
    pixels, _ = read_rois(str(tmp_path / "mask.npy"), (32, 35), prepare).column(0)
    assert (pixels[0] // 35, pixels[0] % 35, len(pixels)) == (5, 10, 25)
    assert len(read_rois("grid:16px", (32, 35), prepare).column(0)[0]) == 8 * 8
