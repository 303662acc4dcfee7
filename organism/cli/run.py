"""``organism run``: sends what it is told to, or what ``start:`` says, and runs until every thread has ended or paused."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, Debug, File, Given, Labels, pairs
from organism.cli.running import PLAIN, Accounts, OfRun, accounts_of
from organism.cli.sending import messages
from organism.organism import Organism

To = Annotated[str | None, Parameter(metavar="HANDLER", help="The handler that is sent to.")]
What = Annotated[
    str | None,
    Parameter(
        allow_leading_hyphen=True,
        metavar="X",
        help="What is sent: XML, JSON, @FILE, - for standard input, or plain text where one required text takes it. "
        "Without it, what the file's 'start:' says is sent.",
    ),
]
Resume = Annotated[bool, Parameter(help="First go on with what earlier runs left in the journal.")]
Seed = Annotated[int | None, WHOLE, Parameter(help="Names threads and spreads retries the same each time.")]


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

    Replies and a table of what was spent go to standard output, progress, warnings and logs to standard error.
    Exits with 0; 1 if a thread failed, was cancelled or stopped, or the timeout was reached; else 3 if one was exhausted;
    else 4 if one is paused; 2 if the file or the command line is wrong; 5 if the journal is damaged or another process holds
    it; 130 on Ctrl-C, 143 on SIGTERM. What runs then has the grace time to end; what is not over stays in a journal on a disk, and
    'organism resume' goes on with it. A second Ctrl-C ends the process at once.
    """
    options.check()
    labels = pairs("--label", label)
    settings = options.settings(file, streams)
    accounts = accounts_of(account, settings)
    sent = messages(settings, to=to, send=send, stdin=streams.input, needed=not resume)
    orders = options.orders(file, messages=sent, labels=labels, accounts=accounts, resume=resume)
    return options.run(Organism.of(settings, seed=seed), orders, streams, debug=debug)
