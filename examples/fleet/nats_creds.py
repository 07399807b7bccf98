#!/usr/bin/env python3
"""Makes an operator of NATS servers, an account that has JetStream, and credentials files (.creds) of its users.

  nats_creds.py --keys DIR server > operator.conf
  nats_creds.py --keys DIR user node7 --publish SUBJECT... --subscribe SUBJECT... > node7.creds

`server` writes what the servers' configuration includes; the first call makes the keys in DIR, which stay with the person who
makes users. A user without subjects may do everything in the account. NATS's own tool for this is nsc, which also
renews, revokes and pushes to servers that run; this one needs nothing but the program openssl.
"""

import argparse
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

# Kinds of keys, by the first byte of an encoded one.
SEED = 18 << 3
KINDS = {"operator": 14 << 3, "account": 0, "system": 0, "user": 20 << 3}
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # before the 32 bytes of an Ed25519 key
UNLIMITED = ("subs", "conn", "leaf", "imports", "exports", "data", "payload", "streams", "consumer")


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *arguments], stdout=subprocess.PIPE, check=True, **options).stdout


def encoded(data):
    """In NATS's form: base32 of the bytes and their CRC-16 (XMODEM)."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
    return base64.b32encode(data + crc.to_bytes(2, "little")).decode().rstrip("=")


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """An Ed25519 key of one of the kinds."""

    def __init__(self, kind, seed=None):
        kind = KINDS[kind]
        if seed is None:
            private = openssl("genpkey", "-algorithm", "ED25519", "-outform", "DER")[-32:]
        else:
            private = base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34]
        self.pkcs8 = PKCS8 + private
        self.seed = encoded(bytes([SEED | kind >> 5, (kind & 31) << 3]) + private)
        public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", input=self.pkcs8)[-32:]
        self.public = encoded(bytes([kind]) + public)

    def token(self, subject, name, claims):
        """Returns a JSON web token in which this key signs `claims` of `subject`."""
        body = {"jti": subject, "iat": int(time.time()), "iss": self.public, "name": name, "sub": subject,
                "nats": {**claims, "version": 2}}
        parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, body)
        text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            signature = openssl("pkeyutl", "-sign", "-rawin", "-in", file.name, "-inkey", "/dev/stdin",
                                "-keyform", "DER", input=self.pkcs8)
        return f"{text}.{base64url(signature)}"


def key_of(directory, kind):
    """The key of this kind in the directory, which is made where there is none."""
    path = directory / f"{kind}.seed"
    if path.exists():
        return Key(kind, path.read_text(encoding="ascii").strip())
    directory.mkdir(mode=0o700, exist_ok=True)
    key = Key(kind)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{key.seed}\n")
    return key


def print_server(directory):
    operator, account, system = (key_of(directory, kind) for kind in ("operator", "account", "system"))

    def token_of(key, name, storage):
        limits = {**dict.fromkeys(UNLIMITED, -1), "wildcards": True, "mem_storage": storage, "disk_storage": storage}
        return operator.token(key.public, name, {"type": "account", "limits": limits})

    itself = operator.token(operator.public, "operator", {"type": "operator", "system_account": system.public})
    print(f"operator: {itself}\nsystem_account: {system.public}\nresolver: MEMORY\nresolver_preload: {{\n"
          f"  {account.public}: {token_of(account, 'vmevents', -1)}\n"
          f"  {system.public}: {token_of(system, 'SYS', 0)}\n}}")


def print_user(directory, options):
    if not (directory / "account.seed").exists():
        sys.exit(f"nats_creds: {directory} has no keys: run `nats_creds.py --keys {directory} server` first")
    user = Key("user")
    claims = {"type": "user", "subs": -1, "data": -1, "payload": -1}
    for name, subjects in (("pub", options.publish), ("sub", options.subscribe)):
        if subjects:
            claims[name] = {"allow": subjects}
    token = key_of(directory, "account").token(user.public, options.name, claims)
    print(f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
          f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", required=True, type=pathlib.Path, metavar="DIR",
                        help="directory with the keys of the operator and its accounts")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("server", help="print what the servers' configuration includes")
    user = commands.add_parser("user", help="print the credentials of a new user")
    user.add_argument("name")
    user.add_argument("--publish", nargs="+", default=[], metavar="SUBJECT", help="subjects to which it may publish")
    user.add_argument("--subscribe", nargs="+", default=[], metavar="SUBJECT", help="subjects that it may receive")
    options = parser.parse_args()
    if options.command == "server":
        print_server(options.keys)
    else:
        print_user(options.keys, options)


if __name__ == "__main__":
    main()
