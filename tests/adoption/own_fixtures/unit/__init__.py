"""unittest without pytest: ``python -m unittest``."""
