"""Pictures that ship inside packages: emoji by several artists, icons, stamps, digits drawn from fonts."""
