"""Independent answers to small placement problems, and random problems to ask about."""
