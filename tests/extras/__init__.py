"""Tests of what is installed as an extra."""
