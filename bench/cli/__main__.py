"""``python -m bench.cli``: the command line without the installed script."""

from bench.cli import main

main()
