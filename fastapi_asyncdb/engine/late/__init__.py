"""Engines that can be handed around before the start."""
