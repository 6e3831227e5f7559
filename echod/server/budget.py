"""Memory for what clients are sending and is not whole yet: bounded for each of them, and for all together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from echod.errors import EchodError

# Of all memory, what one account may take, what strangers may take together, and what one of them may.
ACCOUNT, STRANGERS, STRANGER = 4, 4, 16

FREE = 64 * 1024  # bytes of a socket's messages that are not counted: most never have more

Pot = tuple[str, str, int]  # whose it is, by kind and by name, and which part of all memory it has
ALL: Pot = ("all clients", "", 1)


class Budget:
    """`size` tells how many bytes there are, now."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self.taken: Counter[Pot] = Counter()

    def share(self, account: str, peer: str = "") -> Share:
        """For one request or socket, of an account or of a stranger, who is told by the address."""
        if account:
            return Share(self, [("this account", account, ACCOUNT), ALL])
        return Share(self, [("this address", peer, STRANGER), ("strangers", "", STRANGERS), ALL])

    def take(self, pots: list[Pot], size: int) -> None:
        for whose, name, part in pots:
            taken, limit = self.taken[whose, name, part], self._size() // part
            if taken + size > limit:
                raise EchodError(
                    "rate_limited",
                    f"{whose} may have {limit} bytes under way at once (setting receive_memory, or a part of it), and "
                    f"{taken} are: let something arrive first, then try again",
                )
        self.taken.update(dict.fromkeys(pots, size))

    def give_back(self, pots: list[Pot], size: int) -> None:
        for pot in pots:
            self.taken[pot] -= size
            if not self.taken[pot]:
                del self.taken[pot]  # names come from strangers


class Share:
    """What one request or socket has taken; leaving the `with` gives it back."""

    def __init__(self, budget: Budget, pots: list[Pot]) -> None:
        self.size = 0
        self._budget = budget
        self._pots = pots

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.resize(0)

    def add(self, size: int) -> None:
        """EchodError rate_limited if there is no room; then nothing is taken."""
        self.resize(self.size + size)

    def resize(self, size: int) -> None:
        """The same for all of it, which may become less."""
        if size > self.size:
            self._budget.take(self._pots, size - self.size)
        else:
            self._budget.give_back(self._pots, self.size - size)
        self.size = size


class Messages:
    """What a socket's messages take of a share, from their first byte until they are acted on."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._coming = 0  # bytes of a frame that is not whole
        self._sizes = deque([0])  # of the messages; the last one is not whole

    def come(self, size: int) -> None:
        """Bytes have come."""
        self._coming += size

    def frame(self, size: int, last: bool) -> None:
        """They made a frame, the last one of its message or another. What came behind it is little."""
        self._coming = 0
        self._sizes[-1] += size
        if last:
            self._sizes.append(0)

    def acted_on(self) -> None:
        """The oldest message is done with."""
        self._sizes.popleft()

    def fit(self) -> bool:
        """Whether there is memory for them."""
        try:
            self._share.resize(max(0, self._coming + sum(self._sizes) - FREE))
        except EchodError:
            return False
        return True
