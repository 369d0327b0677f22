"""Which addresses may be asked for answers, checked when one is entered and again when its name has been looked up.

Hone asks from inside the network it runs in. A colleague's server there is what this is for, so private addresses are
allowed; link-local ones are not, because clouds hand out their machines' passwords there (169.254.169.254).
"""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

METADATA = {"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"}  # of clouds, outside link-local ranges
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """It is an address that Hone does not ask; the text says why."""


def check_base_url(text: str) -> str:
    """The address as it is stored, without the last slash. Raises Refused with what is wrong."""
    text = check_url(text)
    if "?" in text:
        raise Refused("The address ends before “?” and “#”. A key has a field of its own.")
    return text.rstrip("/").removesuffix("/chat/completions")


def check_url(text: str) -> str:
    """The address as it is stored. Raises Refused with what is wrong."""
    text = text.strip()
    if any(ord(letter) <= 32 or letter == "\\" for letter in text):
        raise Refused("An address has no spaces and no backslashes.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"This is no address: {error}.") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise Refused("The address begins with http:// or https://.")
    if not host:
        raise Refused("The address has no server in it, for example https://api.example.com/v1.")
    if "@" in parts.netloc:
        raise Refused("Leave user and password out of the address. A key has a field of its own.")
    if "#" in text:
        raise Refused("The address ends before “#”.")
    if port == 0:
        raise Refused("Port 0 is no port.")
    check_host(host)
    return text


def check_host(host: str) -> None:
    """Of an address in numbers; a name is checked when it has been looked up. Raises Refused."""
    try:
        check_address(host)
    except ValueError:
        if _is_number(host):
            raise Refused("Write the address as four numbers with dots, for example 192.168.1.20.") from None


def _is_number(host: str) -> bool:
    """One of the old spellings of an IPv4 address (2852039166, 0xa9fea9fe, 169.254.43518)."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def check_address(text: str) -> None:
    """Raises Refused; ValueError when it is a name."""
    address = ipaddress.ip_address(text)
    inner: Any = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if address.version == 6 and address in NAT64:
        inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    for one in filter(None, (address, inner)):
        if one.is_link_local or str(one) in METADATA:
            raise Refused(f"{text} is a link-local address, where clouds keep a machine's secrets. Hone never asks it.")
        if one.is_multicast or str(one) == "255.255.255.255":
            raise Refused(f"{text} is no address of one server.")


class Resolver(AbstractResolver):
    """Looks names up and refuses those that lead to a forbidden address, whatever they led to before."""

    def __init__(self) -> None:
        self.inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self.inner.resolve(host, port, family)
        for one in found:
            check_address(one["host"])
        return found

    async def close(self) -> None:
        await self.inner.close()
