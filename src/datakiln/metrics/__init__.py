"""Figures of synthetic data: plain functions, named and directed."""
