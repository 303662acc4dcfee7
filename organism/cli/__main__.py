"""``python -m organism.cli`` is ``organism``."""

from organism.cli.entry import main

main()
