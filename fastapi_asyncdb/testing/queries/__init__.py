"""The statements that a piece of code sends."""
