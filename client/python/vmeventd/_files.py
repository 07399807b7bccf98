"""Durable replacement of a file."""

import os
import pathlib
from typing import Union


def replace_file(path: Union[str, "os.PathLike[str]"], text: str) -> None:
    """Replaces the file's content, durably: after a crash of the node it has the old text or the new one.
    For positions, and state that belongs to them."""
    whole = pathlib.Path(path)
    new = whole.with_name(f".{whole.name}.new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(whole)
