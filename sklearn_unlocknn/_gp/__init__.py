"""The Gaussian process in NumPy; two files know TensorFlow Probability."""
