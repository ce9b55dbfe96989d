"""Figures of series: windows of real and synthetic sequences side by side."""
