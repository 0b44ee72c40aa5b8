"""What opens the data sets of the track `forecasting`."""
