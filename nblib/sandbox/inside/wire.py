"""Frames of JSON over a socket, with open files beside them. Knows no message's meaning."""

import json
import socket
import struct

HEADER = struct.Struct("!Q")
_FILES = 8  # open files beside one frame at most


class ClosedError(Exception):
    """The other end is gone, or sent what is no frame."""


def send(channel: socket.socket, message, files: tuple[int, ...] = ()) -> None:
    """One frame, whole."""
    try:
        body = json.dumps(message).encode()
        if files:
            socket.send_fds(channel, [HEADER.pack(len(body))], list(files))
            channel.sendall(body)
        else:
            channel.sendall(HEADER.pack(len(body)) + body)
    except (OSError, RecursionError) as error:
        raise ClosedError(str(error)) from error


def receive(channel: socket.socket):
    """One frame; waits for it."""
    return receive_with_files(channel)[0]


def receive_with_files(channel: socket.socket) -> tuple:
    """One frame with the open files that came beside it."""
    try:
        header, files, _, _ = socket.recv_fds(channel, HEADER.size, _FILES)
        header += _exactly(channel, HEADER.size - len(header)) if header else b""
        if not header:
            raise ClosedError("end of the channel")
        (length,) = HEADER.unpack(header)
        return json.loads(_exactly(channel, length)), files
    except (OSError, ValueError, RecursionError) as error:
        raise ClosedError(str(error)) from error


class Frames:
    """Takes bytes as they come and gives whole frames, from an end that must not be waited for nor trusted."""

    def __init__(self, maximum_bytes: int):
        self.bytes, self.maximum_bytes = bytearray(), maximum_bytes

    def feed(self, data: bytes) -> list:
        self.bytes += data
        found = []
        while len(self.bytes) >= HEADER.size:
            (length,) = HEADER.unpack_from(self.bytes)
            if length > self.maximum_bytes:
                raise ClosedError(f"a frame of {length} bytes; at most {self.maximum_bytes}")
            if len(self.bytes) < HEADER.size + length:
                break
            body = bytes(self.bytes[HEADER.size : HEADER.size + length])
            del self.bytes[: HEADER.size + length]
            try:
                found.append(json.loads(body))
            except (ValueError, RecursionError) as error:
                raise ClosedError(str(error)) from error
        return found


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 2**20))
        if not part:
            raise ClosedError("end of the channel")
        data += part
    return bytes(data)
