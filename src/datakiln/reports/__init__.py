"""What people read of runs: pages and tables."""
