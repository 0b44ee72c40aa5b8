"""The track `forecasting`: fields of rain or wind from the last few of them, with their uncertainty."""
