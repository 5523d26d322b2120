"""Engines: how they start, what they refuse, what traces see."""
