"""Readers of fields over time: wind, rain, and generated motion, each as one or several *events*.

An event is one stretch of observation: an `xarray.DataArray` with the dimensions time, component, y and x
(`bench.data.fields.frames.event`). `bench.data.fields.frames.read` reads any of the data sets by its name.
"""
