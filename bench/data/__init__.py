"""Readers of data sets, a folder a family; `catalog` knows them all, `EMBEDDED` travels with the package."""

from pathlib import Path

#: Small data and trained weights inside the package; ``SOURCES.md`` there says where each comes from.
EMBEDDED = Path(__file__).parent / "embedded"
