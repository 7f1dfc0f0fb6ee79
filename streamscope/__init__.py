"""StreamScope: live calcium traces from a 1-photon miniscope, while the animal behaves."""

from streamscope._version import __version__

__all__ = ["__version__"]
