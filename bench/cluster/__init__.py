"""Sweeps on a Ray cluster: files that start one, and jobs on one that runs."""
