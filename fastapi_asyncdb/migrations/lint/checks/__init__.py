"""The checks of one revision, or of several together."""
