"""Click prediction at growing embedding sizes (the multi-embedding paper's grid)."""
