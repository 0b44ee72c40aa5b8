"""Running a sweep on the nodes of a Ray cluster. Only the files that talk to Ray import it."""
