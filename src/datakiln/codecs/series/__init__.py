"""Series in rows of (entity, time, columns) to encoded steps and back."""
