"""Decides where inference runs: an exact, energy-minimal placement of cut models on devices."""
