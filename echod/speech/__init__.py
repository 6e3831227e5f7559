"""Hearing, replying and speaking: over the network, or with local models in a child."""
