"""``python -m organism`` is ``organism``."""

from organism.cli.main import main

main()
