"""How often passwords may be tried: by an address, for an account by an address, and for an account by strangers to it.

Whoever tries passwords for an account must not shut its owner out, and must get nowhere by having many addresses. Tries
for an account are therefore counted for each address by itself. All addresses together have a limit only as long as
nobody has shown the right password from there: those are strangers to the account, and their wrong tries are what it
bounds. An address that the account was signed in from is none, until the password changes or the daemon restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from echod.accounts.throttle import Throttle

# So many at once, then one every so many seconds. Scripts that log in often should use a token.
BY_ADDRESS = 20, 3.0  # for whatever accounts, right or wrong
BY_ADDRESS_FOR_ACCOUNT = 10, 6.0  # right or wrong
BY_STRANGERS_FOR_ACCOUNT = 100, 6.0  # wrong; 14,500 guesses a day, however many guess

MAX_NAME = 64  # characters of a name that is counted: what is longer is nobody's
MAX_ADDRESSES = 100  # that an account is remembered to be signed in from, the latest


class LoginLimits:
    """Names of nobody count like others: what is refused tells nothing about who has an account."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._addresses = Throttle(*BY_ADDRESS, ticks)
        self._pairs = Throttle(*BY_ADDRESS_FOR_ACCOUNT, ticks)
        self._strangers = Throttle(*BY_STRANGERS_FOR_ACCOUNT, ticks)
        self._acquainted: dict[str, dict[str, None]] = {}  # account -> addresses, the latest last

    @contextmanager
    def trying(self, name: str, peer: str) -> Iterator[bool]:
        """A try at the password of `name` by the address `peer`, wrong if the block raises.

        It is given whether they are acquainted. Raises EchodError: rate_limited.
        """
        name = name[:MAX_NAME]
        acquainted = peer in self._acquainted.get(name, ())
        self._addresses.take(peer, "from this address")
        self._pairs.take(f"{name} {peer}", "for this account from this address")
        if not acquainted:
            self._strangers.take(name, "for this account from addresses that it has not been signed in from")
        yield acquainted
        if not acquainted:
            self._strangers.give_back(name)
        self._remember(name, peer)

    def forget(self, name: str) -> None:
        """Every address is a stranger to the account again: who knew its password may have been somebody else."""
        self._acquainted.pop(name, None)

    def _remember(self, name: str, peer: str) -> None:
        addresses = self._acquainted.setdefault(name, {})
        addresses.pop(peer, None)
        addresses[peer] = None
        if len(addresses) > MAX_ADDRESSES:
            del addresses[next(iter(addresses))]
