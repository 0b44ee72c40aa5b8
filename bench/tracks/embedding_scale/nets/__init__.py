"""One network a file; a row imports only its own, so a change marks only its cells stale."""
