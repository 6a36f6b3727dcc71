"""What executes a model file: one module per runtime, loaded only when a segment needs it."""
