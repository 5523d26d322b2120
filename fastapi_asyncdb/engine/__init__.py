"""Engines: their creation and start, and the errors of their drivers."""
