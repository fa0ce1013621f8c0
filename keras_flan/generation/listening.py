"""Listening on an address, and who may ask there, and how much."""

import asyncio
import ipaddress
import socket
import urllib.parse
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from keras_flan.errors import InputError
from keras_flan.files import parse_json

# A client that sends or takes nothing for this time is gone.
PATIENCE = 30.0  # seconds


def listen(host: str, port: int, allow_remote: bool) -> socket.socket:
    """Returns a socket that listens; a host of several addresses on one."""
    try:
        # An address of IPv4 first: every browser reaches it.
        family, *_, address = min(
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM),
            key=lambda found: found[0] != socket.AF_INET,
        )
        if not (allow_remote or is_loopback(str(address[0]))):
            raise InputError(
                f"{host} can be reached from other machines, and whoever "
                "reaches it may ask; say --allow-remote (allow_remote=True) "
                "if that is meant, or listen on 127.0.0.1"
            )
        listening = socket.create_server(
            (address[0], port, *address[2:]), family=family
        )
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {host}:{port} ({reason}); choose another "
            "--host or --port"
        ) from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Its connections inherit this: who reads nothing is cut off.
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * PATIENCE)
        )
    return listening


def is_loopback(address: str) -> bool:
    """Returns whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_host(request: Request, host: str) -> None:
    """Refuses a name of another site that was made to point here.

    Its pages could read our answers.

    Args:
        request: The request.
        host: The address that this machine alone reaches.

    Raises:
        HTTPException: If it is for another host.
    """
    try:
        name = urllib.parse.urlsplit(
            "//" + request.headers.get("host", "")
        ).hostname
    except ValueError:
        name = None
    if name not in ("localhost", host) and not is_loopback(name or ""):
        raise HTTPException(403, "this server is for localhost")


async def read_json(request: Request, most: int) -> Any:
    """Returns the JSON of a request.

    Args:
        request: The request.
        most: Bytes that it may have.

    Raises:
        HTTPException: If it has more, or another type, or does not arrive.
        InputError: If it is not JSON.
    """
    # Pages of other sites can't send this type without asking first.
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, "send application/json")
    too_large = HTTPException(413, f"send up to {most} bytes")
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "the request did not arrive") from None
    try:
        # The check of the keys says which of them is NaN.
        return parse_json(bytes(body), allow_nan=True)
    except ValueError:
        raise InputError("request: not JSON") from None
