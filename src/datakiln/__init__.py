"""datakiln: deep generative models for tables, images and time series."""

__version__ = "0.1.0"
