"""Commands on records: ``show``, ``why``, ``accept``, ``export``, ``publish``."""
