"""Models that generate: one file each, on the interfaces in `base` and `adversarial`."""
