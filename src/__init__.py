"""datakiln: deep generative models for tables, images and time series."""
