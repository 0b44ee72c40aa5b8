"""What code a record is held to: the definitions that its cell can reach."""
