"""``organism run`` and ``organism resume``: sends what it is told to, or what ``start:`` says, or continues what earlier runs left."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, Debug, File, Given, Labels, pairs
from organism.cli.journals import Where
from organism.cli.orders import told
from organism.cli.running import PLAIN, Accounts, OfRun, accounts_of
from organism.cli.sending import messages
from organism.organism import Organism
from organism.works.control import Order

To = Annotated[
    str | None,
    Parameter(metavar="HANDLER", help="The handler to send to; by default the only one that takes the message."),
]
What = Annotated[
    str | None,
    Parameter(
        allow_leading_hyphen=True,
        metavar="X",
        help="The message: XML, JSON, @FILE, - for standard input, or plain text if its payload has one required text. "
        "By default the messages below 'start:' in the file are sent.",
    ),
]
Resume = Annotated[bool, Parameter(help="First continue what earlier runs left in the journal, paused threads too.")]
Seed = Annotated[int | None, WHOLE, Parameter(help="Make thread ids and the delays of retries the same in each run.")]


def run(
    file: File = DEFAULT_FILE,
    /,
    *,
    to: To = None,
    send: What = None,
    label: Labels = (),
    account: Accounts = (),
    resume: Resume = False,
    seed: Seed = None,
    options: OfRun = PLAIN,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs the organism until every thread has ended or paused.

    Replies and a table of what was spent go to standard output; progress, warnings and logs go to standard error.
    Exits with 0; 1 if a thread failed, was cancelled or stopped, or the timeout was reached; else 3 if one was exhausted;
    else 4 if one is paused; 2 if the file or the command line is wrong; 5 if the journal is damaged or another process holds
    it; 130 on Ctrl-C, 143 on SIGTERM, 129 on SIGHUP. After such a signal, running work has the grace time to finish; a journal
    on a disk keeps the rest for 'organism resume'. A second signal ends the process at once.

    Example: organism run --to guide --send 'When do we open?' --set budget.tokens=2000
    """
    options.check()
    labels = pairs("--label", label)
    settings = options.settings(file, streams)
    accounts = accounts_of(account, settings)
    sent = messages(settings, to=to, send=send, stdin=streams.input, needed=not resume)
    orders = options.orders(file, messages=sent, labels=labels, accounts=accounts, resume=resume)
    return options.run(Organism.of(settings, seed=seed), orders, streams, debug=debug)


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
    where = Where(file=file, journal=options.named)
    where.check_there()
    elsewhere = told(where.place, Order(do="resume"))
    if elsewhere is not None:
        # What it comes to is printed there. Here are neither replies nor objects to be printed.
        say = streams.note if options.json or options.quiet else streams.result
        say(f"{elsewhere}, in the process that works on the journal")
        return 0
    settings = options.settings(file, streams)
    return options.run(Organism.of(settings), options.orders(file, resume=True), streams, debug=debug)
