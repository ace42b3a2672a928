"""Features of frozen networks: training and sharing networks, caching features."""
