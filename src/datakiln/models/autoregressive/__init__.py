"""Autoregressive models: one part of an example after another."""
