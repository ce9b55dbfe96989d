"""Series: rows of (entity, time, columns), split by entity or by time before anything is fitted."""
