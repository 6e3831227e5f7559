"""The preview engine: a puppet of the portrait, made on any CPU without downloads. It never poses as EchoMimic."""

from .engine import PreviewEngine

__all__ = ["PreviewEngine"]
