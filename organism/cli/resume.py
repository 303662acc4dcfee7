"""``organism resume``: goes on with every thread that earlier runs left, paused ones too."""

from __future__ import annotations

from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given, Sets, pairs
from organism.cli.conduct import Orders
from organism.cli.journals import opened, place_of
from organism.cli.logs import logging_to
from organism.cli.orders import told
from organism.cli.run import (
    Json,
    OfRun,
    Quiet,
    Timeout,
    Verbose,
    check_timeout,
    command_again,
    journal_of,
    settings_of,
    watched,
)
from organism.control import Order
from organism.organism import Organism


def resume(
    file: File = DEFAULT_FILE,
    /,
    *,
    set: Sets = (),  # noqa: A002 - the option's name
    journal: OfRun = None,
    timeout: Timeout = None,
    quiet: Quiet = False,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Goes on with every unfinished thread of the journal until all have ended, and prints what 'run' prints.

    Paused ones are let go on. Where a process works on the journal, it is told to go on with them, and prints what they come to.
    Exits as 'run' does.
    """
    check_timeout(timeout)
    named = journal_of(set, journal)
    with opened(file, named):
        pass  # it says what is wrong with a journal that is not there, or does not last
    elsewhere = told(place_of(file, named), Order(do="resume"))
    if elsewhere is not None:
        streams.result(f"{elsewhere}, in the process that works on the journal")
        return 0
    settings = settings_of(file, pairs("--set", set), journal, streams)
    orders = Orders(
        messages=(),
        labels={},
        again=command_again(file, set, journal),
        resume=True,
        timeout=timeout,
        json=json,
        quiet=quiet,
    )
    with logging_to(streams, verbose=verbose, debug=debug):
        return watched(Organism.of(settings), orders, streams)
