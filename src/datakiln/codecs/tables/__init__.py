"""Columns of a table to positions of a row and back."""
