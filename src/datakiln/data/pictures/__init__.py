"""Pictures: found, decoded, split, served."""
