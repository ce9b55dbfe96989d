"""The same from Python."""
