"""What opens the track's data sets."""
