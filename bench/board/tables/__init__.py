"""Tables derived from a board: one file a table, found by `bench.board.registry`."""
