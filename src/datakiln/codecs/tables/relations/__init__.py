"""Relations between the columns of a table: found in training rows, computed instead of learnt, kept in every row."""
