"""What opens the data sets of the track `multi_domain`."""
