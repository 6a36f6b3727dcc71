"""What the runtime costs beside in-process work, bare servers and other servers; `python -m benchmarks.runtime`."""
