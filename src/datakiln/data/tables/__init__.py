"""Tables: read, typed, cleaned, split, served."""
