"""Functions of the client's that a role may call for, over /v1/realtime, by the stock client of the openai package."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import (
    RealtimeConversationItemFunctionCall,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
)
from pydantic import TypeAdapter

from echod.speech.backend import Failure, Message
from echod.speech.tools import CallPiece, ToolCall
from tests.drivers.asking import SECOND, history
from tests.drivers.talking import Talk
from tests.stand_ins.backend import fails, gives, silent
from tests.stand_ins.daemon import Daemon

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
ASKED = (CallPiece(0, name="weather", id="call_1"), CallPiece(0, '{"place": '), CallPiece(0, '"Paris"}'))
BESIDE = CallPiece(1, '{"place": "Rome"}', "weather", "call_2")


def output(call_id: str, given: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call_id, "output": given}
    return {"type": "conversation.item.create", "item": item}


@pytest.fixture
async def agent(daemon: Daemon, talk: Talk) -> Talk:
    """Somebody with a function, who wants to read the answers."""
    await talk.update(output_modalities=["text"], tools=[WEATHER])
    return talk


async def test_a_call(daemon: Daemon, agent: Talk) -> None:
    """A call comes as it is written; what came of it is given back, and answered from."""
    daemon.backend.attempts = [gives(*ASKED), gives("It rains."), gives("Yes.")]
    done = await agent.answer("What is the weather in Paris?")
    kinds = [event.type for event in agent.events]
    assert kinds[kinds.index("response.created") :] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        *["response.function_call_arguments.delta"] * 3,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    deltas = [event for event in agent.events if event.type == "response.function_call_arguments.delta"]
    whole = next(event for event in agent.events if event.type == "response.function_call_arguments.done")
    for event, kind in (*((each, ResponseFunctionCallArgumentsDeltaEvent) for each in deltas),
                        (whole, ResponseFunctionCallArgumentsDoneEvent)):  # fmt: skip
        TypeAdapter[Any](kind).validate_python(event.to_dict(), strict=True)
    assert "".join(each.delta for each in deltas) == whole.arguments == '{"place": "Paris"}'
    [item] = done.output
    TypeAdapter(RealtimeConversationItemFunctionCall).validate_python(item.to_dict(), strict=True)
    assert (item.name, item.call_id, item.status, done.status) == ("weather", "call_1", "completed", "completed")
    [tool] = daemon.backend.turns[0].tools.tools
    assert tool.chat() == {"type": "function", "function": {key: WEATHER[key] for key in list(WEATHER)[1:]}}

    await agent.send(output("call_1", '{"sky": "rain"}'))
    told = await agent.until("conversation.item.done")
    assert (told.item.type, told.item.output) == ("function_call_output", '{"sky": "rain"}')
    await agent.connection.response.create()
    assert (await agent.done()).output[0].content[0].text == "It rains."
    call = ToolCall("call_1", "weather", '{"place": "Paris"}')
    said = [
        Message("user", "What is the weather in Paris?"),
        Message("assistant", "", [call]),
        Message("tool", '{"sky": "rain"}', call_id="call_1"),
    ]
    turn = daemon.backend.turns[1]
    assert (turn.text, list(turn.history), turn.of_tools) == (None, said, True)
    assert turn.messages() == [message.chat() for message in said]
    await agent.answer("Really?")
    assert list(daemon.backend.turns[2].history) == [*said, Message("assistant", "It rains.")]
    assert daemon.backend.turns[2].text == "Really?"


async def test_calls_beside_words(daemon: Daemon, agent: Talk) -> None:
    """An answer may say something and call for several things at once; each is an output of its own."""
    daemon.backend.attempts = [
        gives("Let me look. ", *ASKED, BESIDE),
        gives(SECOND),
        gives("Rain and sun."),
        gives(SECOND),
    ]
    await agent.update(output_modalities=["audio"])
    done = await agent.answer("Paris and Rome?")
    assert [item.type for item in done.output] == ["message", "function_call", "function_call"]
    assert done.output[0].content[0].transcript == agent.words() == "Let me look. " and agent.sound() == SECOND
    indexes = {
        event.item_id: event.output_index
        for event in agent.events
        if hasattr(event, "output_index") and hasattr(event, "item_id")
    }
    assert [indexes[item.id] for item in done.output] == [0, 1, 2]
    added = [event for event in agent.events if event.type == "conversation.item.added"][1:]
    assert [event.previous_item_id for event in added[1:]] == [event.item.id for event in added[:-1]]
    for call_id, given in (("call_2", "sun"), ("call_1", "rain")):
        await agent.send(output(call_id, given))
    await agent.connection.response.create()
    assert (await agent.done()).status == "completed"
    assert [(each.author, each.text, len(each.calls)) for each in daemon.backend.turns[1].history[1:]] == [
        ("assistant", "Let me look. ", 2), ("tool", "rain", 0), ("tool", "sun", 0),
    ]  # fmt: skip


async def test_what_is_said_instead(daemon: Daemon, agent: Talk) -> None:
    """A model that calls for nothing answers as ever; a call that nothing came of is not told to it again."""
    daemon.backend.attempts = [gives(*ASKED), gives("As you like.")]
    await agent.answer("Weather?")
    done = await agent.answer("Never mind.")
    assert [item.type for item in done.output] == ["message"]
    assert history(daemon) == [("user", "Weather?")] and daemon.backend.turns[1].text == "Never mind."


@pytest.mark.parametrize("how", ["cancelled", "failed", "incomplete"])
async def test_a_call_that_is_never_whole(daemon: Daemon, agent: Talk, how: str) -> None:
    """Who gets half a call is told that it is none."""
    broken = {"failed": Failure("quota", "used up"), "incomplete": Failure("length", "too long")}
    attempts = {"cancelled": silent, **{key: fails(each, *ASKED[:2]) for key, each in broken.items()}}
    if how == "cancelled":

        async def held(call: Any, text: Any) -> Any:
            yield ASKED[0]
            yield ASKED[1]
            async for each in silent(call, text):
                yield each

        attempts["cancelled"] = held
    daemon.backend.attempts = [attempts[how]]
    await agent.ask("Weather?")
    await agent.until("response.function_call_arguments.delta", delta='{"place": ')
    if how == "cancelled":
        await agent.connection.response.cancel()
    done = await agent.done()
    assert done.status == how
    call = next(item for item in done.output if item.type == "function_call")
    assert call.status == "incomplete"
    assert "response.function_call_arguments.done" not in [event.type for event in agent.events]
    daemon.backend.attempts = [gives("Fine.")]
    await agent.answer("And now?")
    assert not any(message.calls for message in daemon.backend.turns[-1].history)


async def test_edited_history(daemon: Daemon, agent: Talk) -> None:
    """A client may bring calls, what came of them, and words that were spoken elsewhere, into a conversation."""
    for item in (
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": "Paris?"}]},
        {"type": "function_call", "id": "made", "name": "weather", "call_id": "c", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": ""},
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Rain."}]},
    ):
        await agent.send({"type": "conversation.item.create", "item": item})
        await agent.until("conversation.item.done")
    await agent.connection.conversation.item.retrieve(item_id="made")
    assert (await agent.until("conversation.item.retrieved")).item.name == "weather"
    daemon.backend.attempts = [gives("Yes."), gives("No.")]
    await agent.answer("Really?")
    assert [each.author for each in daemon.backend.turns[0].history] == ["user", "assistant", "tool", "assistant"]
    await agent.connection.conversation.item.delete(item_id="made")
    await agent.until("conversation.item.deleted")
    await agent.answer("Sure?")
    assert [each.author for each in daemon.backend.turns[1].history] == ["user", "assistant", "user", "assistant"]


async def test_how_tools_are_used(daemon: Daemon, agent: Talk) -> None:
    """Session and response say which, whether, and how many at once; a session shows them."""
    shown = agent.events[-1].session
    assert shown.tools[0].to_dict() == WEATHER and shown.tool_choice == "auto"
    named = {"type": "function", "name": "weather"}
    await agent.update(tool_choice=named, parallel_tool_calls=False)
    assert agent.events[-1].session.tool_choice.to_dict() == named
    daemon.backend.attempts = [gives("Fine.")] * 4
    responses: list[dict[str, Any]] = [
        {},
        {"tool_choice": "none"},
        {"tools": []},
        {"tool_choice": "required", "parallel_tool_calls": True},
    ]
    for response in responses:
        await agent.connection.conversation.item.create(item=message_of("hi"))
        await agent.send({"type": "response.create", "response": response})
        assert (await agent.done()).status == "completed"
    asked = [turn.tools.chat() for turn in daemon.backend.turns]
    assert asked[1] == asked[2] == {}
    assert (asked[0]["tool_choice"], asked[0]["parallel_tool_calls"]) == (
        {"type": "function", "function": {"name": "weather"}},
        False,
    )
    assert (asked[3]["tool_choice"], asked[3]["parallel_tool_calls"]) == ("required", True)


def message_of(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def test_who_has_no_hands(daemon: Daemon, talk: Talk) -> None:
    """Where who replies knows nothing of tools, a session says that it has none, and goes on."""
    daemon.backend.handy = False
    await talk.update(output_modalities=["text"], tools=[WEATHER], instructions="Be kind.")
    assert talk.events[-1].session.tools == [] and talk.events[-1].session.instructions == "Be kind."
    daemon.backend.attempts = [gives("Fine.")]
    assert (await talk.answer("hi")).status == "completed" and not daemon.backend.turns[0].tools


async def test_most_tokens(daemon: Daemon, talk: Talk) -> None:
    """An answer has as many tokens as the session or the response says, and is incomplete where it needs more."""
    cut = Failure("length", "too long")
    daemon.backend.attempts = [fails(cut, "Once upon"), fails(cut, "a time"), gives("Fine.")]
    await talk.update(output_modalities=["text"], max_output_tokens=20)
    assert talk.events[-1].session.max_output_tokens == 20
    done = await talk.answer("A story?")
    assert (done.status, done.status_details.reason, done.max_output_tokens) == ("incomplete", "max_output_tokens", 20)
    await talk.send({"type": "response.create", "response": {"max_output_tokens": 5}})
    assert (await talk.done()).status == "incomplete"
    await talk.send({"type": "response.create", "response": {"max_output_tokens": "inf"}})
    assert (await talk.done()).status == "completed"
    assert [turn.max_tokens for turn in daemon.backend.turns] == [20, 5, daemon.config.reply_tokens]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"tools": {}}, "session.tools"),
        ({"tools": [WEATHER] * 129}, "session.tools"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0]"),
        ({"tools": [{"type": "function"}]}, "session.tools[0].name"),
        ({"tools": [WEATHER | {"name": "a b"}]}, "session.tools[0].name"),
        ({"tools": [WEATHER | {"description": 7}]}, "session.tools[0].description"),
        ({"tools": [WEATHER | {"parameters": []}]}, "session.tools[0].parameters"),
        ({"tool_choice": "perhaps"}, "session.tool_choice"),
        ({"tool_choice": {"type": "function"}}, "session.tool_choice"),
        ({"parallel_tool_calls": 1}, "session.parallel_tool_calls"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"max_output_tokens": "all"}, "session.max_output_tokens"),
    ],
)
async def test_tools_that_are_none(agent: Talk, session: dict[str, Any], param: str) -> None:
    """What cannot be a tool is refused by its place."""
    assert (await agent.refused({"type": "session.update", "session": session})).param == param


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "function_call_output", "output": "x"}, "item.call_id"),
        ({"type": "function_call_output", "call_id": "c"}, "item.output"),
        ({"type": "function_call_output", "call_id": "c", "output": "x" * 20_001}, "item.output"),
        ({"type": "function_call", "call_id": "c", "arguments": "{}"}, "item.name"),
        ({"type": "function_call", "call_id": "c", "name": "n", "arguments": {}}, "item.arguments"),
        ({"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]}, "item.content[0]"),
    ],
)
async def test_items_that_are_none(agent: Talk, item: dict[str, Any], param: str) -> None:
    assert (await agent.refused({"type": "conversation.item.create", "item": item})).param == param
