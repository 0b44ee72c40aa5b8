"""Networks of the track: the base, what is added to it, and the annotators that read conditions."""
