"""Networks of the track `ood`: the dual encoder, and what rows put on it or make of its weights."""
