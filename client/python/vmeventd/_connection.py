"""The address of a vmeventd, and channels to it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import threading
import urllib.parse
from typing import Any, Dict, List, Optional, Tuple, Union

import grpc
import grpc.aio

_UNIX_ADDRESS_BYTES = 107  # of unix(7)
_UNIX_NAME_BYTES = 82  # the rest is for the longest /proc/self/fd/N/
# A descriptor of each directory in which a socket's path is longer. It stays open, as a channel connects
# whenever it needs to.
_DIRECTORIES: Dict[str, int] = {}
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Server:
    """One node's vmeventd: unix:PATH, /PATH or HOST[:PORT]. A host must be one node, as each has its own
    events. With tls_ca it is reached by TLS. The files are read for each channel: they may be replaced."""

    address: str
    tls_ca: Optional[str] = None
    tls_cert: Optional[str] = None
    tls_key: Optional[str] = None
    tls_server_name: Optional[str] = None  # the name in the server's certificate

    def __post_init__(self) -> None:
        if not self.tls_ca and (self.tls_cert or self.tls_key or self.tls_server_name):
            raise ValueError("TLS needs tls_ca, the CA of the server's certificate")

    @classmethod
    def of(cls, server: Union[str, Server]) -> Server:
        return cls(server) if isinstance(server, str) else server

    def channel(self) -> grpc.Channel:
        """A new channel. Raises OSError if a file cannot be read, or the directory of a socket whose path is
        longer than a Unix address cannot be opened."""
        return self._open(grpc)

    def aio_channel(self) -> grpc.aio.Channel:
        """The same for asyncio."""
        return self._open(grpc.aio)

    def _open(self, library: Any) -> Any:
        options: List[Tuple[str, Any]] = [
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Otherwise channels to one address share a connection, with its certificates and its pauses.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        if not self.tls_ca:
            return library.insecure_channel(_target(self.address), options)
        if self.tls_server_name:
            options.append(("grpc.ssl_target_name_override", self.tls_server_name))
        credentials = grpc.ssl_channel_credentials(
            _read(self.tls_ca), _read(self.tls_key), _read(self.tls_cert))
        return library.secure_channel(_target(self.address), credentials, options)


def _target(address: str) -> str:
    """The address for gRPC. A Unix socket whose path is too long is named by its directory's descriptor."""
    if address.startswith("/"):
        address = "unix:" + urllib.parse.quote(address)
    elif re.fullmatch(r"[^:]+|\[[^]]*\]", address):
        address += ":9555"
    scheme, _, rest = address.partition(":")
    path = urllib.parse.unquote(rest[2:] if rest.startswith("///") else rest)
    if scheme != "unix" or len(os.fsencode(path)) <= _UNIX_ADDRESS_BYTES:
        return address
    directory, name = os.path.split(path)
    if len(os.fsencode(name)) > _UNIX_NAME_BYTES:
        raise ValueError(f"{address}: its file name is too long for a Unix socket: in a path of more than "
                         f"{_UNIX_ADDRESS_BYTES} bytes at most {_UNIX_NAME_BYTES} fit")
    opened = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with _LOCK:
        descriptor = _DIRECTORIES.setdefault(directory, opened)
        if descriptor != opened:  # the directory may have been replaced
            os.dup2(opened, descriptor, inheritable=False)
            os.close(opened)
    return f"unix:/proc/self/fd/{descriptor}/{urllib.parse.quote(name)}"


def _read(path: Optional[str]) -> Optional[bytes]:
    return pathlib.Path(path).read_bytes() if path else None
