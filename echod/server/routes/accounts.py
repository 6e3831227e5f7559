"""/v1/account: who one is, sessions and API tokens. /v1/accounts: everybody, for admins."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request

from echod.accounts import grants
from echod.accounts.grants import LOCAL, AccountRole, TokenRole
from echod.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from echod.accounts.removal import remove_account
from echod.accounts.store import MAX_TOKEN_NAME, NAME, SESSION_SECONDS
from echod.errors import EchodError, invalid
from echod.server.answers import Answer, answer, header, refusals
from echod.server.caller import COOKIE, Caller, by_https, check_origin, cookie_path
from echod.server.schemas import json_body, line
from echod.server.services import Calling, Served

MAX_LIFETIME = 10 * 365 * 86400  # seconds

account = APIRouter(prefix="/v1/account", tags=["account"])
accounts = APIRouter(prefix="/v1/accounts", tags=["accounts"])


async def certain(served: Served, caller: Calling) -> Caller:
    """The caller, if a person or the unix socket speaks for them: what makes an account is for nobody else.

    Raises EchodError: forbidden.
    """
    if caller.may_be_anybody or not (caller.account or served.accounts):
        raise EchodError(
            "forbidden",
            "while there are no accounts, everything about them is for the unix socket alone: by TCP a proxy or a "
            "tunnel can make a stranger look local. Add the first one on the daemon's own machine, with `echod users "
            "add NAME --role admin`; if that comes by TCP too, name the socket that `echod serve` says it listens "
            "on: --url unix:PATH, or ECHOD_URL",
        )
    return caller


Certain = Annotated[Caller, Depends(certain)]


# For /openapi.json alone: what is refused is told in words of its own.
AccountName = Annotated[
    str, msgspec.Meta(extra_json_schema={"pattern": f"^{NAME.pattern}$", "not": {"const": LOCAL}})
]  # fmt: skip
ChosenPassword = Annotated[
    str, msgspec.Meta(extra_json_schema={"minLength": MIN_LENGTH, "maxLength": MAX_LENGTH})
]  # fmt: skip
TokenName = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1, **line(MAX_TOKEN_NAME)})]
Lifetime = Annotated[
    int | float | None, msgspec.Meta(extra_json_schema={"exclusiveMinimum": 0, "maximum": MAX_LIFETIME})
]  # fmt: skip


class Login(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    password: ChosenPassword


class OwnPassword(NewPassword):
    current_password: str


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    name: AccountName
    password: ChosenPassword
    role: AccountRole = "user"


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    name: TokenName
    expires_in: Lifetime = None
    account: str | None = None
    role: TokenRole | None = None


# What is answered


class Account(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="account"):
    """Somebody; `created_at` is null of who has no account."""

    name: str
    role: AccountRole
    created_at: int | None


class Accounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Account]


class DeletedAccount(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="account.deleted"):
    name: str
    deleted: Literal[True] = True


class EndedSession(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="account.session.deleted"):
    deleted: Literal[True] = True


class Token(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="account.token"):
    """An API token, by everything but its secret; `last_used_at` is since the daemon's start."""

    id: str
    name: str
    account: str
    role: TokenRole | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None


class CreatedToken(Token, frozen=True, kw_only=True):
    """A new token, with the secret that nobody can read again."""

    token: str


class Tokens(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Token]


class DeletedToken(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="account.token.deleted"):
    id: str
    deleted: Literal[True] = True


SET_COOKIE = {"Set-Cookie": header(f"{COOKIE}: the session.", required=True)}

Body = TypeVar("Body", Login, NewPassword, OwnPassword, NewAccount, NewToken)


async def _read(request: Request, kind: type[Body]) -> Body:
    """The JSON body. What is wrong with it is told without its values: there are passwords among them."""
    # A page elsewhere can send JSON only after asking by OPTIONS, whose answer gives it no leave.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid("send application/json", "Content-Type")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is not what is expected here: {_told(error, kind)}") from None


def _told(error: Exception, kind: type[msgspec.Struct]) -> str:
    """What msgspec says of a body, unless it quotes from it."""
    if str(error).startswith(("JSON is malformed", "Input data was truncated", "Object missing", "Expected")):
        return str(error)
    return f"an object with {', '.join(kind.__struct_fields__)}, and nothing else"


# One's own


@account.post(
    "/login",
    summary="Begin a session: the answer sets a cookie",
    openapi_extra=json_body(Login),
    responses=answer(Account, "Signed in.", **SET_COOKIE) | refusals(),
)
async def login(request: Request, served: Served, _: Certain) -> Answer:
    config = served.config
    check_origin(request.headers.items(), config.public_url, required=False)
    given = await _read(request, Login)
    secret = await served.accounts.login(
        given.name, given.password, served.peer(request.client, request.headers), config.sessions_per_account
    )
    told = Answer(account_object(served.accounts.find(given.name)))
    path = cookie_path(request.headers.items(), config.public_url)
    told.set_cookie(
        COOKIE, secret, max_age=int(SESSION_SECONDS), path=path, httponly=True, samesite="strict",
        secure=by_https(request.headers.items(), config.public_url),
    )  # fmt: skip
    if path != "/":  # a browser would send one for the whole host along, and of two neither is taken
        told.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return told


@account.post(
    "/logout", summary="End this session", responses=answer(EndedSession, "Signed out.", **SET_COOKIE) | refusals()
)
async def logout(request: Request, served: Served, caller: Certain) -> Answer:
    if caller.grant is None or not served.accounts.is_session(caller.grant):
        raise invalid("there is no session to end: this request was not made with its cookie")
    await served.accounts.logout(caller.grant)
    told = Answer(EndedSession())
    for path in {"/", cookie_path(request.headers.items(), served.config.public_url)}:
        told.delete_cookie(COOKIE, path=path, httponly=True, samesite="strict")
    return told


@account.get("/me", summary="Who one is", responses=answer(Account) | refusals())
async def me(served: Served, caller: Calling) -> Answer:
    known = {account.name: account for account in served.accounts.all()}.get(caller.account)
    if known is not None:
        return Answer(account_object(known))
    return Answer(Account(name=caller.account, role="admin", created_at=None))


@account.put(
    "/password",
    summary="Change one's password; ends every session and token",
    openapi_extra=json_body(OwnPassword),
    responses=answer(Account) | refusals("not_found"),
)
async def change_password(request: Request, served: Served, caller: Certain) -> Answer:
    given = await _read(request, OwnPassword)
    own = served.accounts.find(caller.account)
    await served.accounts.verify(own.name, given.current_password, served.peer(request.client, request.headers))
    await served.accounts.set_password(own.name, given.password)
    return Answer(account_object(served.accounts.find(own.name)))


@account.get(
    "/tokens",
    summary="One's API tokens, without their secrets; admins see everybody's",
    responses=answer(Tokens) | refusals(),
)
async def list_tokens(served: Served, caller: Certain) -> Answer:
    rows = [token_object(grant.token, grant) for grant in served.accounts.tokens(caller.sees) if grant.token]
    return Answer(Tokens(data=rows))


@account.post(
    "/tokens",
    summary="Make an API token: the answer alone tells its secret",
    openapi_extra=json_body(NewToken),
    responses=answer(CreatedToken) | refusals("not_found", "quota_exceeded"),
)
async def create_token(request: Request, served: Served, caller: Certain) -> Answer:
    given = await _read(request, NewToken)
    whose = given.account or caller.account
    if whose == LOCAL:
        raise invalid("local callers have no account; name the account that the token is for (--user)", "account")
    if whose != caller.account or given.role:
        caller.must_be_admin()
    expiry = _expiry(given, caller, served.accounts.clock())
    token, secret = await served.accounts.create_token(
        whose, given.name, expiry, served.config.tokens_per_account, given.role
    )
    return Answer(CreatedToken(**msgspec.structs.asdict(token_object(token)), token=secret))


@account.delete(
    "/tokens/{token_id}", summary="Revoke an API token", responses=answer(DeletedToken) | refusals("not_found")
)
async def revoke_token(token_id: str, served: Served, caller: Certain) -> Answer:
    await served.accounts.revoke_token(token_id, caller.sees)
    return Answer(DeletedToken(id=token_id))


def _expiry(given: NewToken, caller: Caller, now: float) -> float | None:
    """When a new token expires: not after the token that it is made with."""
    if given.expires_in is not None and not 0 < given.expires_in <= MAX_LIFETIME:
        raise invalid(f"expires_in = {given.expires_in}: it must be seconds, up to {MAX_LIFETIME}", "expires_in")
    wanted = None if given.expires_in is None else now + given.expires_in
    made_with = caller.grant.expires_at if caller.grant and caller.grant.token else None
    return min(filter(None, (wanted, made_with)), default=None)


# Everybody, for admins


@accounts.get("", summary="Everybody, for admins", responses=answer(Accounts) | refusals())
async def list_accounts(served: Served, caller: Certain) -> Answer:
    caller.must_be_admin()
    return Answer(Accounts(data=[account_object(row) for row in served.accounts.all()]))


@accounts.post(
    "", summary="Add an account", openapi_extra=json_body(NewAccount), responses=answer(Account) | refusals()
)
async def add_account(request: Request, served: Served, caller: Certain) -> Answer:
    caller.must_be_admin()
    given = await _read(request, NewAccount)
    return Answer(account_object(await served.accounts.add(given.name, given.role, given.password)))


@accounts.put(
    "/{name}/password",
    summary="Change somebody's password; ends every session and token of theirs",
    openapi_extra=json_body(NewPassword),
    responses=answer(Account) | refusals("not_found"),
)
async def set_password(name: str, request: Request, served: Served, caller: Certain) -> Answer:
    caller.must_be_admin()
    given = await _read(request, NewPassword)
    await served.accounts.set_password(name, given.password)
    return Answer(account_object(served.accounts.find(name)))


@accounts.delete(
    "/{name}",
    summary="Remove an account with its jobs, clips, files and tokens",
    responses=answer(DeletedAccount) | refusals("not_found"),
)
async def remove(name: str, served: Served, caller: Certain) -> Answer:
    caller.must_be_admin()
    await remove_account(name, served.accounts, served.desk, served.files, served.usage)
    served.conversations.forget_account(name)
    return Answer(DeletedAccount(name=name))


def account_object(row: grants.Account) -> Account:
    return Account(name=row.name, role=row.role, created_at=int(row.created_at))


def token_object(token: grants.Token, grant: grants.Grant | None = None) -> Token:
    used = grant.used_at if grant else None
    return Token(
        id=token.id,
        name=token.name,
        account=token.account,
        role=token.role,
        created_at=int(token.created_at),
        expires_at=None if token.expires_at is None else int(token.expires_at),
        last_used_at=None if used is None else int(used),
    )
