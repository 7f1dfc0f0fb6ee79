"""What kind of recording a folder is."""

from __future__ import annotations

from pathlib import Path

from streamscope.errors import SourceError
from streamscope.types import Movie
from streamscope_drivers import bonsai, miniscope_daq, pomidaq, v3
from streamscope_drivers.sidecar import VIDEOS, has_sidecar
from streamscope_drivers.video import open_video

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


def open_folder(path: Path, fps: float | None = None, um_per_px: float | None = None) -> Movie:
    """Return the movie in a folder, whichever program wrote it.

    Parameters
    ----------
    path : Path
        The folder of a device or the session folder around it, or a folder of TIFF files.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If there is no movie in the folder, more than one, or one that cannot be used.
    """
    try:
        if miniscope_daq.is_recording(path):
            return miniscope_daq.open_folder(path, fps, um_per_px)
        if v3.ms_cams(path):
            return v3.open_v3(path, fps, um_per_px)
        if files := tiff_files(path):
            from streamscope_drivers.tiff import open_tiff_folder

            return open_tiff_folder(path, files, fps, um_per_px)
        if bonsai.is_recording(path):
            return bonsai.open_bonsai(path, fps, um_per_px)
        if slices := pomidaq.slices_in(path):
            return pomidaq.open_slices(path, slices, fps, um_per_px)
        if len(pairs := videos_with_stamps(path)) == 1:
            return open_video(pairs[0], fps, um_per_px)
        return miniscope_daq.open_folder(path, fps, um_per_px)
    except OSError as error:
        raise SourceError(
            f"a recording was expected in {path}, but it could not be looked into ({error.strerror}); "
            "check your permissions"
        ) from error


def tiff_files(folder: Path) -> list[Path]:
    """Return the TIFF files of a folder, in no order."""
    return [f for f in folder.iterdir() if f.suffix.lower() in TIFF_SUFFIXES and not f.name.startswith(".")]


def videos_with_stamps(folder: Path) -> list[Path]:
    """Return the videos of a folder beside which a file says when their frames came."""
    return [f for f in folder.iterdir() if f.suffix.lower() in VIDEOS and has_sidecar(f)]
