"""The command for authors of methods: ``check``."""
