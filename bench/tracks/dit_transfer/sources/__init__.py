"""One module for each kind of data set that targets come from; `by_name` chooses."""
