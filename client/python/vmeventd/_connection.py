"""Where a vmeventd is, and channels to it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, List, Optional, Tuple, Union

import grpc
import grpc.aio


@dataclasses.dataclass(frozen=True)
class Server:
    """One node's vmeventd: unix:PATH or HOST:PORT. A host must be one node, as each has its own events.
    With tls_ca it is reached by TLS. The files are read for each channel: they may be replaced."""

    address: str
    tls_ca: Optional[str] = None
    tls_cert: Optional[str] = None
    tls_key: Optional[str] = None
    tls_server_name: Optional[str] = None  # the name in the server's certificate

    @classmethod
    def of(cls, server: Union[str, Server]) -> Server:
        return cls(server) if isinstance(server, str) else server

    def channel(self) -> grpc.Channel:
        """A new channel. Raises OSError if a file cannot be read."""
        return self._open(grpc)

    def aio_channel(self) -> grpc.aio.Channel:
        """The same for asyncio."""
        return self._open(grpc.aio)

    def _open(self, library: Any) -> Any:
        options: List[Tuple[str, Any]] = [
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Or channels to one address share a connection, with its certificates and its pauses.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        if not self.tls_ca:
            return library.insecure_channel(self.address, options)
        if self.tls_server_name:
            options.append(("grpc.ssl_target_name_override", self.tls_server_name))
        credentials = grpc.ssl_channel_credentials(
            _read(self.tls_ca), _read(self.tls_key), _read(self.tls_cert))
        return library.secure_channel(self.address, credentials, options)


def _read(path: Optional[str]) -> Optional[bytes]:
    return pathlib.Path(path).read_bytes() if path else None
