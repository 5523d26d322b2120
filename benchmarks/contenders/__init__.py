"""The applications that are compared, one module each."""

from benchmarks.contenders.registry import CONTENDERS, OURS, RAW, TEXTBOOK, Contender, Pool

__all__ = ["CONTENDERS", "OURS", "RAW", "TEXTBOOK", "Contender", "Pool"]
