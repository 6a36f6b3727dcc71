"""What devices and links really take: measured, fitted, and set against the figures of a site."""
