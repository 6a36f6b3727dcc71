"""The solvers: the plain search over a MILP, and the fast one for single flows."""
