"""Is synthetic data worth using: studies of many fits, which can be capped, interrupted and gone on with."""
