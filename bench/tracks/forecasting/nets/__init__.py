"""Networks of the track `forecasting`."""
