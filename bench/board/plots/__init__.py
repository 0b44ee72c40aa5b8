"""Pictures of a board: one kind a file, found by `bench.board.registry`. All are drawn with `canvas`."""
