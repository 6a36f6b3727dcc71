"""Plans on devices: what agents need, how it gets there, and what they measured."""
