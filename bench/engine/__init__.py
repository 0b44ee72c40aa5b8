"""How cells are run: isolated, limited, placed."""
