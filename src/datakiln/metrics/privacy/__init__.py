"""Whether synthetic data gives its training examples away."""
