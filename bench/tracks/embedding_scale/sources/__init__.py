"""One module for each kind of data set; `by_name` chooses."""
