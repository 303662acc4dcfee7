"""``python -m organism.cli`` is ``organism``."""

from organism.cli.main import main

main()
