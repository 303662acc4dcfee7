"""``organism run`` and ``organism resume``: sends what it is told to, or what ``start:`` says, or continues what earlier runs left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, AsFile, Given, Labels, pairs
from organism.cli.conduct import Job
from organism.cli.journals import Where
from organism.cli.options import PLAIN, OfRun
from organism.cli.orders import told
from organism.cli.reading import LATEST
from organism.cli.running import Accounts, accounts_of, run_of
from organism.cli.sending import messages
from organism.cli.text import one_line
from organism.errors import ConfigurationError, RoutingError
from organism.organism import Organism
from organism.works.control import Order
from organism.works.ingress import checked_id
from organism.works.replays import not_lasting

if TYPE_CHECKING:
    from organism.settings import Settings

To = Annotated[
    str | None,
    Parameter(metavar="HANDLER", help="The handler to send to; by default the only one that takes the message."),
]
What = Annotated[
    str | None,
    Parameter(
        allow_leading_hyphen=True,
        metavar="X",
        help="The message: XML, JSON, @FILE, - for standard input, or plain text if its payload has one required text, or nothing but one. "
        "By default the messages below 'start:' in the file are sent.",
    ),
]
Resume = Annotated[bool, Parameter(help="First continue what earlier runs left in the journal, paused threads too.")]
Id = Annotated[
    str | None,
    Parameter(
        metavar="ID",
        help="The new thread's id, of your choice. If the same was done under it before, nothing is done again: the "
        "thread goes on, or its result is printed.",
    ),
]
Seed = Annotated[int | None, WHOLE, Parameter(help="Make thread ids and the delays of retries the same in each run.")]


def run(
    file: AsFile = DEFAULT_FILE,
    *,
    to: To = None,
    send: What = None,
    label: Labels = (),
    account: Accounts = (),
    resume: Resume = False,
    id: Id = None,  # noqa: A002 - the option's name
    seed: Seed = None,
    options: OfRun = PLAIN,
    streams: Given,
) -> int:
    """Runs the organism until every thread has ended or paused.

    Replies and a table of what was spent go to standard output; progress, warnings and logs go to standard error.
    Exits with 0; 1 if a thread failed, was cancelled or stopped, or the timeout was reached; else 3 if one was exhausted;
    else 4 if one is paused; 2 if the file or the command line is wrong; 5 if the journal is damaged or another process holds
    it; 130 on Ctrl-C, 143 on SIGTERM, 129 on SIGHUP. After such a signal, running work has the grace time to finish; a journal
    on a disk keeps the rest for 'organism resume'. A second signal ends the process immediately.

    Example: organism run --to guide --send 'When do we open?' --set budget.tokens=2000
    """
    labels = pairs("--label", label)
    if id is not None and send is None:
        raise ConfigurationError([f"--id {one_line(id)}: is for one message; add --send"])
    settings = options.checked(file, streams)
    accounts = accounts_of(account, settings)
    sent = messages(settings, to=to, send=send, stdin=streams.input, needed=not resume)
    checked_thread_id(id, settings)
    job = Job(file=file, options=options, messages=sent, labels=labels, accounts=accounts, resume=resume, id=id)
    return run_of(Organism.of(settings, seed=seed), job, streams)


def checked_thread_id(given: str | None, settings: Settings) -> None:
    """Raises ConfigurationError for ``--id`` where nothing is known again by it, or it is no id of a thread."""
    if given is None:
        return
    if settings.journal == "memory:":
        raise ConfigurationError([not_lasting(f"--id {one_line(given)}", settings.journal)])
    try:
        checked_id(given)
    except RoutingError as error:
        raise ConfigurationError([f"--id: {error}"]) from None
    if not given.strip() or given == LATEST:
        raise ConfigurationError([f"--id {one_line(given) or repr(given)}: is no id of a thread; choose another"])


def resume(
    file: AsFile = DEFAULT_FILE,
    *,
    options: OfRun = PLAIN,
    streams: Given,
) -> int:
    """Continues every unfinished thread of the journal, paused ones too, until all have ended or paused again.

    Prints and exits as 'run' does. If another process works on the journal, that process is told to continue the threads, and it
    prints what becomes of them.
    """
    where = Where(file=file, journal=options.pairs.get("journal"))
    where.check_there()
    elsewhere = told(where.place, Order(do="resume"))
    if elsewhere is not None:
        # What it comes to is printed there. Here are neither replies nor objects to be printed.
        say = streams.note if options.json or options.quiet else streams.result
        say(f"{elsewhere}, in the process that works on the journal")
        return 0
    settings = options.checked(file, streams)
    return run_of(Organism.of(settings), Job(file=file, options=options, resume=True), streams)
