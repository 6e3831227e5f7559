"""echod: a portrait and speech become a talking-head clip, on your own GPU box."""

__version__ = "0.2.0"
