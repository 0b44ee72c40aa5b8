"""Image data sets that the user brings, in the layouts of their publishers."""
