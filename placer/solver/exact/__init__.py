"""The fast exact solver for one flow: prices on limits, blocks between dominators, labels along their chain."""
