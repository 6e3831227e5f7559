"""A face for LiveKit agents, made by echod."""

from livekit.agents import Plugin

from .avatar import AvatarSession, EchodError, EchodGenerator
from .log import logger
from .version import __version__

__all__ = ["AvatarSession", "EchodError", "EchodGenerator", "__version__"]


class EchodPlugin(Plugin):
    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or "", logger)


Plugin.register_plugin(EchodPlugin())
