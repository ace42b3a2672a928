"""Frozen and trained MEGNets."""
