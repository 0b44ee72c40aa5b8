"""Readers of data sets, one folder for each family, and the catalogue of all data sets.

`bench.data.catalog` names every data set and the module that reads it; `bench.data.source` says what each of
them answers. A new family (fields such as wind and rain, tiles of the Earth) is a folder of its own.
"""

from pathlib import Path

#: Small data and trained weights inside the package; ``SOURCES.md`` there says where each comes from.
EMBEDDED = Path(__file__).parent / "embedded"
