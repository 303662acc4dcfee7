"""``organism resume``: goes on with every thread that earlier runs left, paused ones too."""

from __future__ import annotations

from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given
from organism.cli.journals import check_there, place_of
from organism.cli.orders import told
from organism.cli.running import PLAIN, OfRun
from organism.organism import Organism
from organism.works.control import Order


def resume(
    file: File = DEFAULT_FILE,
    /,
    *,
    options: OfRun = PLAIN,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Continues every unfinished thread of the journal, paused ones too, until all have ended or paused again.

    Prints and exits as 'run' does. If another process works on the journal, that process is told to continue the threads, and it
    prints what becomes of them.
    """
    options.check()
    check_there(file, options.named)
    elsewhere = told(place_of(file, options.named), Order(do="resume"))
    if elsewhere is not None:
        # What it comes to is printed there. Here are neither replies nor objects to be printed.
        say = streams.note if options.json or options.quiet else streams.result
        say(f"{elsewhere}, in the process that works on the journal")
        return 0
    settings = options.settings(file, streams)
    return options.run(Organism.of(settings), options.orders(file, resume=True), streams, debug=debug)
