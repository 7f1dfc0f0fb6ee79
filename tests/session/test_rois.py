"""Regions that a session is given: how they are read, what is refused, and a whole session of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import ConfigError
from streamscope.offline.export import export_session
from streamscope.session.plan import make_plan
from streamscope.session.rois import read_rois
from streamscope.session.runner import run_session

SHAPE = (64, 80)


def labels():
    image = np.zeros(SHAPE, np.uint16)
    image[4:12, 4:12], image[30:40, 50:70] = 3, 7
    return image


def test_a_grid_has_whole_tiles_in_the_middle_of_the_field():
    rois = read_rois("grid:24px", SHAPE)
    assert rois.n == 2 * 3
    covered = np.zeros(SHAPE, int)
    for k in range(rois.n):
        pixels, weights = rois.column(k)
        assert len(pixels) == 24**2
        assert np.linalg.norm(weights) == pytest.approx(1, abs=1e-5)
        covered.reshape(-1)[pixels] += 1
    assert covered[8:56, 4:76].min() == covered.max() == 1
    assert covered.sum() == 6 * 24**2


@pytest.mark.parametrize("suffix", ["npy", "npz", "tif", "png"])
def test_labels_are_regions_in_their_order(tmp_path, suffix):
    path = tmp_path / f"regions.{suffix}"
    {"npy": np.save, "npz": np.savez}.get(suffix, lambda p, a: cv2.imwrite(str(p), a))(path, labels())
    rois = read_rois(str(path), SHAPE)
    assert rois.n == 2
    for k, label in enumerate((3, 7)):
        np.testing.assert_array_equal(rois.column(k)[0], np.flatnonzero(labels() == label))


def test_masks_may_overlap(tmp_path):
    masks = np.zeros((2, *SHAPE), bool)
    masks[0, 5:20, 5:20] = masks[1, 10:30, 10:30] = True
    np.save(tmp_path / "masks.npy", masks)
    rois = read_rois(str(tmp_path / "masks.npy"), SHAPE)
    for k in range(2):
        np.testing.assert_array_equal(rois.column(k)[0], np.flatnonzero(masks[k]))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((64, 64), np.uint8), "has shape"),
        (np.zeros(SHAPE, np.uint8), "is empty"),
        (np.zeros((2, *SHAPE), bool), "mask 0 of 2 is empty"),
        (np.full(SHAPE, 0.5), "no labels"),
        (np.full(SHAPE, np.nan), "no labels"),
        (np.full(SHAPE, "a"), "expected whole numbers"),
        (np.arange(64 * 80).reshape(SHAPE), "at most 1024"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_sentence(tmp_path, array, said):
    path = tmp_path / "masks.npy"
    np.save(path, array)
    with pytest.raises(ConfigError, match=said) as refused:
        read_rois(str(path), SHAPE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grid:nopx", "expected tiles"),
        ("grid:2px", "expected tiles"),
        ("grid:65px", "expected tiles"),
        ("nowhere.npy", "is not a file"),
        ("text.txt", "ends with"),
        ("rubbish.npy", "cannot be read"),
        ("rubbish.png", "cannot be read"),
        ("two.npz", "2 arrays"),
    ],
)
def test_what_is_no_region_is_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    for made in ("text.txt", "rubbish.npy", "rubbish.png"):
        (tmp_path / made).write_bytes(b"rubbish")
    np.savez(tmp_path / "two.npz", a=labels(), b=labels())
    with pytest.raises(ConfigError, match=said):
        read_rois(name, SHAPE)


def test_regions_and_a_seed_exclude_each_other(tmp_path):
    config = from_toml(None, {"cell_diameter": "8px", "rois": "grid:24px", "out": str(tmp_path)})
    with pytest.raises(ConfigError, match="--seed and --rois were both given"):
        make_plan("synthetic:tiny", config, None, seed=tmp_path)


def test_a_session_reads_out_its_regions_from_frame_0_and_refits_them(tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    rng = np.random.default_rng(2)
    frames = 100 + 8 * rng.normal(size=SHAPE) + rng.normal(0, 3, (200, *SHAPE))
    frames[120:140, 32:56, 28:52] += 10
    np.save(tmp_path / "movie.npy", np.clip(frames, 0, 255).astype(np.uint8))

    def run(out):
        given = {"cell_diameter": "8px", "fps": 20.0, "rois": "grid:24px", "wire.bind": "127.0.0.1:0"}
        config = from_toml(None, {**given, "out": str(tmp_path / out)})
        plan = make_plan(str(tmp_path / "movie.npy"), config, None)
        outcome = run_session(plan)
        plan.movie.close()
        export_session(outcome.folder, tmp_path / f"{out}.npz", "live")
        export_session(outcome.folder, tmp_path / f"{out}_refit.npz", "refit")
        with np.load(tmp_path / f"{out}.npz") as live, np.load(tmp_path / f"{out}_refit.npz") as refit:
            return outcome, dict(live), dict(refit)

    outcome, live, refit = run("one")
    assert outcome.refit_status == ("accepted",) * 6
    assert live["C"].shape == refit["C"].shape == (6, 200)
    assert np.isfinite(live["C"]).all()
    for traces in (live["C"], refit["C"]):
        assert traces[:, 122:138].mean(1).argmax() == 4
    _, again, _ = run("two")
    np.testing.assert_array_equal(live["C"], again["C"])
