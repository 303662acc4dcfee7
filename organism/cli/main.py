"""The entry point: what was typed, the command it names, and the exit code.

Nobody is ever shown a traceback who has not asked for it with ``--debug``.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError

from organism.cli import signals
from organism.cli.arguments import usage_error
from organism.cli.exit_codes import DAMAGED, FAILED, INTERRUPTED, WRONG
from organism.cli.help_format import Columns
from organism.cli.log_lines import in_full, in_short
from organism.cli.streams import Streams, lasting
from organism.cli.text import one_line
from organism.errors import ConfigurationError, EscalatedError, JournalError, OrganismError
from organism.likeness import without_secrets
from organism.names import suggestion
from organism.pump.garbage import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import Never, TextIO

GROUPS: Final = {
    "Run": {
        "init": ("init", "DIR", "Makes a new project that runs."),
        "check": ("check", "[FILE]", "Reports every mistake in an organism's file, and starts nothing."),
        "run": ("run", "[FILE]", "Runs an organism until every thread has ended or paused."),
        "chat": ("chat", "[FILE]", "Talks to a handler in one conversation, one turn per line."),
        "resume": ("run", "[FILE]", "Continues what earlier runs left in the journal."),
    },
    "See what happened": {
        "threads": ("threads", "", "Lists the root threads of a journal."),
        "show": ("show", "[THREAD]", "Shows what happened in a thread."),
        "log": ("log", "[THREAD]", "Prints the facts of a thread, or follows new ones."),
        "usage": ("usage", "[THREAD]", "Shows what was spent, by handler, model, day or others."),
    },
    "Answer and steer": {
        "inbox": ("inbox", "[ID]", "Lists the questions that wait for people."),
        "answer": ("inbox", "ID", "Answers a question for a person."),
        "dead": ("dead", "", "Lists the messages that failed for good, or sends one again."),
        "pause": ("orders", "THREAD", "Pauses a thread."),
        "cancel": ("orders", "THREAD", "Cancels a thread."),
        "add-budget": ("orders", "[THREAD] UNIT=AMOUNT...", "Raises the limits of a thread, or of an account."),
    },
    "Replay and vary": {
        "replay": ("replay", "THREAD [FILE]", "Runs a thread's handlers again on the recorded answers."),
        "fork": ("replay", "THREAD [FILE]", "Copies the start of a thread and continues it differently."),
        "study": ("study", "[FILE]", "Compares arms of settings on the same inputs."),
    },
    "Look after the journal": {
        "verify": ("upkeep", "", "Checks that every entry of a journal is as it was written."),
        "export": ("transfer", "[THREAD...]", "Prints threads as JSON lines."),
        "import": ("transfer", "SOURCE", "Puts exported threads into a journal."),
        "prune": ("upkeep", "", "Removes finished threads from a journal."),
    },
    "Design and test": {
        "graph": ("graph", "[FILE]", "Draws who may address whom, as Mermaid."),
        "models": ("models", "[FILE]", "Shows what each model alias would use."),
        "schema": ("schema", "[FILE]", "Prints schemas for editors and readers."),
        "simulate": ("simulate", "", "Serves the simulated model over HTTP, in two protocols."),
    },
}
"""The commands as help shows them: the module that defines each, what it takes, and what it does."""
OPTIONS: Final = ("--help", "--version")
"""What stands in the place of a command."""
COMMANDS: Final = {name: each for group in GROUPS.values() for name, each in group.items()}


def main() -> None:
    """Runs the command of this process's command line, and exits with its code."""
    # What a command loads is no garbage: Python would look for some a hundred times meanwhile, and once more when it ends, in all of it.
    gc.set_threshold(OBJECTS)
    try:
        # What listens to no signals itself is interrupted by an exception, which event loops know.
        if signal.getsignal(signal.SIGINT) is signals.end_at_once:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr = lasting(sound(sys.stderr, "w"))  # whoever writes to it, be it a handler
        streams = Streams(out=sound(sys.stdout, "w"), err=sys.stderr, input=sound(sys.stdin, "r"))
        code = _run(sys.argv[1:], streams)
        _end_on_signal(code, streams)
    except KeyboardInterrupt:  # before the command, or behind it
        sys.exit(INTERRUPTED)
    gc.freeze()
    sys.exit(code)


def _end_on_signal(code: int, streams: Streams) -> None:
    """All is done and said: a signal that comes from now on changes nothing of it, and ends what still keeps the process, such as a
    thread of a handler.
    """

    def end(_number: int, _frame: FrameType | None) -> Never:
        os._exit(code)

    streams.flush()
    signals.answer(end)
    # Later than that Python has no handlers of its own any more, and a signal would kill it half-way.
    atexit.register(signals.answer, signal.SIG_IGN)


def execute(arguments: Sequence[str], streams: Streams) -> int:
    """Runs the command that ``arguments`` name, in a process that goes on when it has ended; returns the exit code."""
    before = signals.answers()
    try:
        return _run(arguments, streams)
    finally:
        signals.set_back(before)


def _run(arguments: Sequence[str], streams: Streams) -> int:
    """The same; signals are answered from then on as the command has it, until :func:`main` says otherwise."""
    debug = "--debug" in arguments  # until they are understood
    by_itself = (
        _wants_help(arguments) or arguments[0] in OPTIONS
    )  # help and the version are written by themselves, and to nothing else
    try:
        command, bound, given = _application(arguments, streams).parse_args(
            list(arguments), print_error=False, exit_on_error=False
        )
        debug = _debugs(bound.arguments)
        code = command(*bound.args, **bound.kwargs, **dict.fromkeys(given, streams))
    except CycloptsError as error:
        streams.note(without_secrets(_usage_problem(error)))
        return WRONG
    except (ConfigurationError, JournalError) as error:
        streams.wrong(error)
        return WRONG if isinstance(error, ConfigurationError) else DAMAGED
    except SystemExit:
        if not by_itself:
            raise
        code = 0  # who draws help ends the process where nobody reads it: here that is no error
    except Exception as error:  # noqa: BLE001 - a line for people, whatever it is
        if not (isinstance(error, OSError) and by_itself):
            streams.note(in_full(error) if debug else _about(error))
            return FAILED
        streams.lose(streams.out, error)
        code = 0
    except BaseException as error:  # noqa: BLE001 - what is no interrupt goes on
        return _interrupted(error)
    streams.finish()
    return (code if isinstance(code, int) else 0) or (FAILED if streams.failed else 0)


def _interrupted(error: BaseException) -> int:
    """The exit code after Ctrl-C, which an event loop may raise in a group. Raises what is nothing of the kind."""
    group = cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None
    if not isinstance(error, KeyboardInterrupt) and (group is None or group.subgroup(KeyboardInterrupt) is None):
        raise error
    return INTERRUPTED


def _about(error: Exception) -> str:
    """A line about what has ended a command."""
    if isinstance(error, EscalatedError):
        # The log said why when it happened, and so does the outcome of the thread.
        return "error: the organism has stopped, as 'on_failure' of a handler says"
    if isinstance(error, ImportError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # a command that cannot be loaded: what says so names only the command
    about = one_line(str(error)) if isinstance(error, OrganismError) else f"unexpected {in_short(error)}"
    return without_secrets(f"error: {about}; --debug shows the traceback")


def _debugs(given: Mapping[str, object]) -> bool:
    """Whether a command was given ``--debug``, by itself or among the options that it shares with others."""
    return any(getattr(each, "debug", name == "debug" and bool(each)) for name, each in given.items())


def _wants_help(arguments: Sequence[str]) -> bool:
    return not arguments or not {"-h", "--help"}.isdisjoint(arguments)


def _application(arguments: Sequence[str], streams: Streams) -> App:
    """The command line. What formats its help is loaded only where that is asked for."""
    helps = _wants_help(arguments)
    app = App(
        name="organism",
        help="An actor-model message pump for swarms of LLM agents, with budgets that cannot be overrun. 'organism init DIR' makes a project to "
        "begin with; 'organism COMMAND --help' tells what a command takes.",
        help_formatter=Columns() if helps and not streams.out.isatty() else None,
        help_format="plaintext",
        group_parameters=Group("Options"),
        default_parameter=Parameter(negative=(), show_default=False, json_list=False),
    )
    for number, (title, commands) in enumerate(GROUPS.items()):
        group = Group(title, sort_key=number)
        for number_in, (name, (module, takes, about)) in enumerate(commands.items()):
            function = {"import": "import_"}.get(name, name.replace("-", "_"))
            usage = " ".join(["Usage: organism", name, *([takes] if takes else []), "[OPTIONS]"])
            # In full, as the command itself says it, where it is asked for: the others are not loaded for that.
            short = None if name in arguments[:1] else about
            # A command has no version of its own: it would say that of the library that reads the command line.
            app.command(
                f"organism.cli.{module}:{function}",
                name=name,
                help=short,
                usage=usage,
                group=group,
                sort_key=number_in,
                version_flags=(),
            )
            if helps and short is None:
                app[name].help = _flowing(app[name].default_command)
    last = Group("Options", sort_key=len(GROUPS))
    for flag in (*app.help_flags, *app.version_flags):
        app[flag].group = last
    return app


def _flowing(command: object) -> str:
    """What a command says of itself, a line for each paragraph: where lines of the code end, none ends on a terminal."""
    said = inspect.getdoc(command) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in said.split("\n\n"))


def _usage_problem(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        name = error.unused_tokens[0]
        if name.startswith("-"):
            option = name.partition("=")[0]
            near = suggestion(option, OPTIONS) or "; those of a command stand behind it"
            return f"organism {one_line(option)}: there is no such option{near}; see 'organism --help'"
        return (
            f"organism: '{one_line(name)}' is not a command{suggestion(name, COMMANDS, most=3)}; see 'organism --help'"
        )
    return usage_error(error)


def sound(stream: TextIO | None, mode: Literal["r", "w"]) -> TextIO:
    """A standard stream that can be used: it takes any text, and one that was closed before Python began is empty."""
    if stream is None:
        return Path(os.devnull).open(mode, encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if mode == "w" and reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream
