"""Train a copy of the network and the Gaussian process together."""
