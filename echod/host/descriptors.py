"""How many files and connections the daemon may have open at once."""

from __future__ import annotations

import resource

MOST = 65_536  # as in the units; some programs that we start close every number below their limit, one by one
OWN = 256  # for the journal, workers and models, and connections accepted but not yet refused
EACH = 2  # a connection, and the file that it sends or is sent


def raise_limit() -> None:
    """Take as many descriptors as this process is allowed; a login shell gives it 1024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """As many as leave enough for everything else: a daemon out of descriptors cannot even refuse a connection."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((MOST if soft == resource.RLIM_INFINITY else soft) - OWN, EACH) // EACH
