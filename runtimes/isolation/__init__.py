"""Segments in processes of their own, so that a model that crashes, swells or never ends takes no agent with it."""
