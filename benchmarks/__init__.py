"""Measurements, to be run by hand on a quiet machine. Nothing here is asserted in a test."""
