"""The command for authors of methods: ``check``, of a file, of a track's rows, or of what a track asks."""
