"""Somebody who is told by webhooks: fails each event so many times, then acknowledges it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.stand_ins.loopback import Exchange, LoopbackServer, Request


@dataclass
class Receiver(LoopbackServer):
    """`answers` gives for a path a status with headers; a path that is not there fails `fails` times, then gets 200."""

    fails: int = 0
    answers: dict[str, tuple[int, Mapping[str, str]]] = field(default_factory=dict)
    tried: Counter[str] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)  # ids of events

    async def answer(self, request: Request, exchange: Exchange) -> None:
        id = request.headers["webhook-id"]
        self.tried[id] += 1
        if request.path in self.answers:
            status, headers = self.answers[request.path]
            await exchange.respond(status, {}, headers)
        elif self.tried[id] <= self.fails:
            await exchange.respond(503, {})
        else:
            self.acknowledged.append(id)
            await exchange.respond(200, {})
