"""What is made, measured and drawn after training, by kind of data."""
