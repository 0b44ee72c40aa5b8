"""What a sweep is doing at this moment: facts that drivers leave in the store, and a page made of them."""
