"""The Gaussian process in NumPy, and in two files in TensorFlow Probability."""
