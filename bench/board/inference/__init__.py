"""What a board concludes from its numbers: which tasks count, how rows compare, what is shown."""
