"""What watches or saves a run while it trains."""
