"""Frames of JSON over a socket, with open files attached. Does not know what messages mean."""

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

_HEADER = struct.Struct("!Q")
_FILES = 8  # open files with one frame at most


class ClosedError(Exception):
    """The other end has closed, or sent something that is not a frame."""


def send(channel: socket.socket, message, files: tuple[int, ...] = ()) -> None:
    """One frame, whole."""
    try:
        body = json.dumps(message).encode()
        header = _HEADER.pack(len(body))
        if files:
            socket.send_fds(channel, [header], files)
        channel.sendall(body if files else header + body)
    except (OSError, RecursionError) as error:
        raise ClosedError(str(error)) from error


def receive(channel: socket.socket, files: list[int] | None = None):
    """One frame; waits for it. Open files that come with it are added to the list."""
    try:
        header, received, _, _ = socket.recv_fds(channel, _HEADER.size, _FILES if files is not None else 0)
        if files is not None:
            files += received
        header += _exactly(channel, _HEADER.size - len(header))
        return json.loads(_exactly(channel, *_HEADER.unpack(header)))
    except (OSError, ValueError, RecursionError) as error:
        raise ClosedError(str(error)) from error


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 2**20))
        if not part:
            raise ClosedError("end of the channel")
        data += part
    return bytes(data)


def serve(channel: socket.socket, answer: Callable[[dict], dict]) -> NoReturn:
    """Answers each frame with one, and ends this process when the other end closes."""
    while True:
        try:
            question = receive(channel)
        except ClosedError:
            os._exit(0)
        send(channel, answer(question))


class Frames:
    """Takes bytes as they come and gives whole frames, from an end that must not be waited for nor trusted."""

    def __init__(self, maximum_bytes: int):
        self.bytes, self.maximum_bytes = bytearray(), maximum_bytes

    def feed(self, data: bytes) -> list:
        self.bytes += data
        found = []
        while len(self.bytes) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self.bytes)[0]
            if end > self.maximum_bytes:
                raise ClosedError(f"a frame of {end} bytes; at most {self.maximum_bytes}")
            if len(self.bytes) < end:
                break
            try:
                found.append(json.loads(self.bytes[_HEADER.size : end]))
            except (ValueError, RecursionError) as error:
                raise ClosedError(str(error)) from error
            del self.bytes[:end]
        return found
