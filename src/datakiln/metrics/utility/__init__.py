"""Whether synthetic data serves where real data would."""
