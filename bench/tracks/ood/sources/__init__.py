"""What opens the data sets of the track `ood`: pictures with labels, and the encoder that goes with them."""
