"""The track `forecasting`: the next frames of rain, wind and moving pictures, as ensembles."""
