"""Image data sets that the user provides, in the layouts of their publishers."""
