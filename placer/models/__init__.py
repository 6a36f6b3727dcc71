"""Model files: read as graphs, and cut into segments."""
