"""Studies: the same inputs in several arms of settings, so that what differs is what the arms set.

Reading order:

* ``study`` - what is studied, in which order, and what it may cost at most
* ``file``, ``inputs`` - a study from YAML, every mistake with its place
* ``folder`` - what is kept of it: the record, the journals, what was learned
* ``running``, ``ceiling`` - its threads, and what may still be begun
* ``cells``, ``sums`` - what each thread came to, from the journals, and what all of them have spent
* ``figures`` - sums by arm, with intervals, and differences between arms

In Python: ``study = load(Path("study.yaml"))``, ``await run(study)``, and then ``found(study)`` has a :class:`Found` for each thread.
"""

from organism.lab.cells import Found, found
from organism.lab.figures import Estimate, of_arms, of_pairs
from organism.lab.file import load
from organism.lab.folder import check_same
from organism.lab.running import Ran, run
from organism.lab.study import Arm, Cell, Study
from organism.lab.sums import usage

__all__ = [
    "Arm",
    "Cell",
    "Estimate",
    "Found",
    "Ran",
    "Study",
    "check_same",
    "found",
    "load",
    "of_arms",
    "of_pairs",
    "run",
    "usage",
]
