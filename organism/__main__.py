"""``python -m organism`` is ``organism``."""

from organism.cli.entry import main

main()
