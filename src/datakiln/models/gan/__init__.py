"""Adversarial models: a critic judges what a generator makes."""
