"""One module for each kind of data set; `base` says what a module must offer."""
