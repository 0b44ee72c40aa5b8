"""Networks of the track, and what is done to their weights."""
