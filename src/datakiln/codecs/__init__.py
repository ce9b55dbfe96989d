"""Raw values to tensors and back."""
