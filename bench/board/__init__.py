"""Leaderboards computed from records."""
