"""The ways to read and write rows that are compared, one module each."""

from benchmarks.data_access.registry import BY_HAND, DATA_ACCESS, DataAccess

__all__ = ["BY_HAND", "DATA_ACCESS", "DataAccess"]
