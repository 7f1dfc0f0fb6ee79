"""A recording of ours in the hands of other people's programs: the same frames, the same stamps."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.session.plan import make_live_plan
from streamscope.session.registry import open_movie
from streamscope.session.runner import run_session
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from tests.session.live_devices import SHAPE, Until, use_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["GREY", "FFV1"])
def recorded(request, tmp_path_factory):
    """Return a session of three files, the frames (T, H, W) that it recorded, and their times, ms."""
    with pytest.MonkeyPatch.context() as patch:
        made = use_model(patch)
        out = tmp_path_factory.mktemp("out")
        given = {"cell_diameter": "8px", "out": str(out), "wire.bind": "127.0.0.1:0", "fps": 30.0}
        given |= {"device.led": 30.0, "compression": request.param}
        plan = make_live_plan("miniscope:v4-bno", "0", from_toml(None, given), refit=False)
        outcome = run_session(plan, Until(2100), fake_engine())
    assert outcome.recording["complete"]
    movie = open_movie(str(outcome.folder))
    frames, times_ms = movie.read(0, movie.info.n_frames), 1e3 * movie.times_s
    movie.close()
    sent = {s.crc for s in made[0][1].sent}
    assert {zlib.crc32(frame) for frame in frames} <= sent
    assert len(frames) == outcome.n_frames > 2000
    return open_session(outcome.folder), frames, times_ms


def test_pyav_alone_reads_the_frames(recorded):
    av = pytest.importorskip("av")
    session, frames, _ = recorded
    seen = []
    for number in range(3):
        with av.open(str(session.recording_folder / f"{number}.avi")) as file:
            assert file.streams.video[0].frames in (1000, len(frames) - 2000)
            assert float(file.streams.video[0].average_rate) == pytest.approx(1e5 / 3300, abs=0.01)
            seen += [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    np.testing.assert_array_equal(np.stack(seen), frames)


def test_opencv_alone_reads_the_frames_also_from_the_middle(recorded):
    cv2 = pytest.importorskip("cv2")
    session, frames, _ = recorded
    video = cv2.VideoCapture(str(session.recording_folder / "1.avi"))
    video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 1000
    for n in (0, 700, 999):
        video.set(cv2.CAP_PROP_POS_FRAMES, n)
        found, image = video.read()
        assert found
        np.testing.assert_array_equal(image.reshape(SHAPE), frames[1000 + n])
    video.release()


def test_roiextractors_reads_frames_stamps_and_metadata(recorded):
    roiextractors = pytest.importorskip("roiextractors", reason="pip install roiextractors")
    session, frames, times_ms = recorded
    extractor = roiextractors.MiniscopeImagingExtractor(folder_path=session.recording_folder)
    assert extractor.get_num_samples() == len(frames)
    assert tuple(extractor.get_image_shape()) == SHAPE
    np.testing.assert_array_equal(np.asarray(extractor.get_series(995, 1005)).squeeze(), frames[995:1005])
    np.testing.assert_array_equal(np.asarray(extractor.get_series(0, len(frames))).squeeze(), frames)
    stamps = extractor.get_native_timestamps()
    np.testing.assert_allclose(stamps, times_ms / 1e3, rtol=0, atol=1e-6)
    assert 15 < extractor.get_sampling_frequency() < 31  # by its first stamps, between which some may be lost
    device = extractor._read_device_folder_metadata(session.recording_folder / "metaData.json")
    assert (device["deviceType"], device["framesPerFile"], device["compression"]) == (
        "Miniscope_V4_BNO",
        1000,
        session.ours["config"]["compression"],
    )
    whole = extractor._read_session_folder_metadata(session.folder / "metaData.json")
    assert whole["miniscopes"] == ["Miniscope"]


def test_ndx_miniscope_reads_stamps_and_describes_the_device(recorded):
    ndx = pytest.importorskip("ndx_miniscope", reason="pip install ndx-miniscope")
    utils = pytest.importorskip("ndx_miniscope.utils")
    pynwb = pytest.importorskip("pynwb")
    session, frames, times_ms = recorded
    stamps = utils.get_timestamps(folder_path=str(session.folder.parent))
    assert len(stamps) == len(frames)
    np.testing.assert_allclose(np.diff(np.asarray(stamps)), np.diff(times_ms) / 1e3, rtol=0, atol=1e-6)
    metadata = utils.read_miniscope_config(str(session.recording_folder))
    began = datetime.fromtimestamp(session.metadata["recordingStartTime"]["msecSinceEpoch"] / 1e3, UTC)
    file = pynwb.NWBFile("a recording", "id", began)
    texts = {name: str(metadata[name]) for name in ("deviceType", "compression", "frameRate", "gain")}
    numbers = {name: int(metadata[name]) for name in ("framesPerFile", "led0")}  # that class knows these only
    known = {"name": metadata["name"], **texts, **numbers}
    utils.add_miniscope_device(nwbfile=file, device_metadata=known)
    device = file.devices["Miniscope"]
    assert isinstance(device, ndx.Miniscope)
    assert (device.deviceType, device.led0) == ("Miniscope_V4_BNO", 30)
