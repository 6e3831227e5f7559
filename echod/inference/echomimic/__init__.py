"""EchoMimic: a portrait and speech become frames by diffusion. Written from a description of its behaviour."""
