"""Frozen Keras networks."""
