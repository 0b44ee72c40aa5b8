"""Pictures of a board: one kind a file, found by `bench.board.registry`, drawn with `bench.board.canvas`."""
