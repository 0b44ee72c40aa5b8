"""How a cell is run: isolated, limited, placed."""
