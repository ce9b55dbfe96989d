"""From a checkpoint to synthetic data in user units."""
