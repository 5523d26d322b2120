"""Engines: how they are made, started and watched."""
