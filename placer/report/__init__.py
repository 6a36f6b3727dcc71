"""Plans, runs and explanations as tables and pictures; nothing here computes."""
