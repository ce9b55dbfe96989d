"""The survey, measured: families of models on equal terms, dimension by dimension, beside what was thought of them."""
