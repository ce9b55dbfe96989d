"""Differential privacy: exact noise, what it costs, what is public, marginals, gradients, and audits of all of it."""
