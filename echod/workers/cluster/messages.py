"""What the link and a node say to each other: msgspec structs in MessagePack, as bytes, never pickle.

The daemon to the link, by a connection for each incarnation: a Birth, then a byte for each signal. The link back: how
it ended; where the Birth is empty, what becomes of the cluster. The link to a node: the Birth, files piece
by piece, orders. A node back, in the order in which it came: words, each a report as at home, a piece of a file that
the child writes, a line of its log, or how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import msgspec

from echod.workers.messages import Report
from echod.workers.spec import Spec
from echod.workers.state import Cluster, Ending

PIECE = 1 << 20  # bytes of a file that travel at once
LENGTH = 4  # bytes that say how long a Birth is
MOST = 8 * PIECE  # bytes of words that are taken from a node at once

Name: TypeAlias = Literal["stream", "thumbnail", "end", "manifest", "clip"]  # a node can name no other file
Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=2000)]


class Birth(msgspec.Struct, frozen=True):
    """A worker to be started by its `main`, named as module:function."""

    main: str
    spec: Spec


class About(msgspec.Struct, frozen=True):
    """A node's first words. `version` is that of the echod there, None where there is none."""

    node: Annotated[str, msgspec.Meta(max_length=255)]
    version: Line | None


class Told(msgspec.Struct, frozen=True, tag=True):
    """What the child reports."""

    report: Report


class Grown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The next piece of a file of a job; after the `last` one it is whole. A stream has no last one."""

    job: str
    file: Name
    data: Annotated[bytes, msgspec.Meta(max_length=PIECE)]
    last: bool = False


class Said(msgspec.Struct, frozen=True, tag=True):
    """A line that the child has logged."""

    line: Line


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The child is dead, and nothing more comes."""

    ending: Ending


Word: TypeAlias = Told | Grown | Said | Ended

encode: Callable[[Birth | list[Word] | Cluster | Ending], bytes] = msgspec.msgpack.Encoder().encode
decode_birth: Callable[[bytes], Birth] = msgspec.msgpack.Decoder(Birth).decode
decode_cluster: Callable[[bytes], Cluster] = msgspec.msgpack.Decoder(Cluster).decode
decode_ending: Callable[[bytes], Ending] = msgspec.msgpack.Decoder(Ending).decode
decode_words: Callable[[bytes], list[Word]] = msgspec.msgpack.Decoder(list[Word]).decode
decode_about: Callable[[bytes], About] = msgspec.json.Decoder(About, float_hook=float).decode
