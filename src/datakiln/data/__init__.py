"""Data modules and where their data comes from."""
