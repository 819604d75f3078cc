"""The live page: `promolake serve`, and the tokens that open it to other machines."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import Annotated

import typer

from promolake import settings as configuration
from promolake.cli import app, err, out
from promolake.core.errors import EnvironmentProblem, SettingsError
from promolake.serving.page.access import Access, Keyring, is_local
from promolake.serving.page.part import Role

PORT = 8080
TOKENS = "tokens.json"
STOP_SECONDS = 3  # how long a request may still take when the server is told to end

serve = typer.Typer(help="The live page, and who may open it.", invoke_without_command=True)
token = typer.Typer(help="Tokens: with one, the page may be opened from other machines, and asks for one everywhere.", no_args_is_help=True)
app.add_typer(serve, name="serve")
serve.add_typer(token, name="token")


@serve.callback()
def page(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on; another than this machine's own takes a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)] = PORT,
) -> None:
    """Serve the live page until Ctrl-C: it reads the tables, without Spark, and changes nothing."""
    if context.invoked_subcommand:
        return
    import uvicorn

    from promolake.cli.page import assembled

    settings = configuration.load(context.obj)
    keyring = _keyring(settings)
    if not is_local(host) and not keyring.keys:
        raise SettingsError(
            f"Listening on {host}, the page would be open to everybody.", "Make a token first: promolake serve token add NAME --role viewer"
        )
    with _listening(host, port) as listener:
        port = listener.getsockname()[1]
        out.print(f"live page: http://{'localhost' if is_local(host) else host}:{port}/", soft_wrap=True)
        application = assembled(settings, Access(keyring))
        gc.freeze()  # what is imported stays: to look through it for garbage again and again costs more than all viewers
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends in order, then raises the signal again: that is no failure
            signal.signal(number, lambda *_: sys.exit(0))
        uvicorn.Server(config).run(sockets=[listener])


@token.command("add")
def add_token(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, to tell it from others.")],
    role: Annotated[str, typer.Option(help="viewer: looks and asks; operator: also silences alerts.")] = Role.VIEWER.value,
) -> None:
    """Make a token and print it: this once, for only its hash is kept."""
    if role not in (Role.VIEWER.value, Role.OPERATOR.value):
        raise SettingsError(f"There is no role {role}.", "Choose viewer or operator.")
    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    made = _keyring(settings).add(name, Role(role))
    err.print("[dim]the token, shown this once; type it on the page, or send it as `Authorization: Bearer TOKEN`:[/dim]")
    print(made)


@token.command("list")
def list_tokens(context: typer.Context) -> None:
    """Name the tokens there are and their roles."""
    for name, key in sorted(_keyring(configuration.load(context.obj)).keys.items()):
        out.print(f"{name} {key.role}")


@token.command("remove")
def remove_token(context: typer.Context, name: Annotated[str, typer.Argument(help="Whose.")]) -> None:
    """Take a token back; whoever signed in with it is signed out at once."""
    _keyring(configuration.load(context.obj)).remove(name)


def _keyring(settings: configuration.Settings) -> Keyring:
    return Keyring(settings.home / TOKENS)


def free_port(preferred: int) -> int:
    """The preferred port of this machine, or another where that one is taken."""
    try:
        listener = _listening("127.0.0.1", preferred)
    except EnvironmentProblem:
        listener = _listening("127.0.0.1", 0)
    with listener:
        return listener.getsockname()[1]


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises EnvironmentProblem when it is taken or not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # whoever comes before the application is there waits for it
    except OSError as error:
        raise EnvironmentProblem(
            f"The page cannot listen on {host}:{port}: {error.strerror}.", "Choose another address with --host, or port with --port."
        ) from None
    return listener
