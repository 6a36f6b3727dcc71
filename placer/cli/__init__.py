"""The `placer` command, a file for each group of commands."""
