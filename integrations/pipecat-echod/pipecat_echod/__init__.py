"""A face for Pipecat bots, made by echod."""

from .version import __version__
from .video import EchodVideoService

__all__ = ["EchodVideoService", "__version__"]
