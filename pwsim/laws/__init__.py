"""The laws of the protocol, each a class that watches a world and raises ``Violated``.

They are numbered as in the protocol's description. A law looks at what happened (``History``), at the store and at the
broker; never at what a machine believes. Each has a planted bug that it convicts (``pwsim.planted``).
"""

from .base import Law, Violated, Watch
from .calls import CommitsOnce, CreatesExactly, Fenced, Ordered, Punctual
from .ending import Ends, LeavesNothing, Listed, Transparent
from .joins import JoinsExactly

ALL: tuple[type[Law], ...] = (
    CommitsOnce,
    CreatesExactly,
    JoinsExactly,
    Ends,
    Fenced,
    Transparent,
    LeavesNothing,
    Ordered,
    Punctual,
    Listed,
)

__all__ = ["ALL", "Law", "Violated", "Watch"]
