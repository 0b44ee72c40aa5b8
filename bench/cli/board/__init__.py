"""Commands that turn records into rankings: ``board``, ``report``, ``compare``."""
