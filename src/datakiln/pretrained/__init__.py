"""Networks with published weights that both models and metrics look through."""
