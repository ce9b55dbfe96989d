"""Models that are fitted by counting."""
