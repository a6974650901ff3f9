"""Counters and histograms of the node."""
