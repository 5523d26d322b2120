"""What is measured, one module each."""

from benchmarks.measures.registry import MEASURES, Measure

__all__ = ["MEASURES", "Measure"]
