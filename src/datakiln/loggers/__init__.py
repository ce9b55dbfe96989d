"""Where the figures of a run go: a CSV file always, W&B or TensorBoard if asked."""
