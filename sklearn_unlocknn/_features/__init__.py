"""Features of frozen networks: what a regressor asks of them, and their cache."""
