"""Flight messages as the bytes that are on the wire, to be sent by a bare gRPC stub.

Only the protobuf wire format is needed, so none of Flight's own code stands between a test and
the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import grpc
import pyarrow as pa

SERVICE = "/arrow.flight.protocol.FlightService/"


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 127
        out += bytes([low | (128 if value else 0)])
        if not value:
            return out


def field_bytes(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def path_descriptor(*parts: bytes) -> bytes:
    return varint(1 << 3) + varint(1) + b"".join(field_bytes(3, part) for part in parts)


def command_descriptor(command: bytes) -> bytes:
    return varint(1 << 3) + varint(2) + field_bytes(2, command)


@dataclass(frozen=True)
class FlightData:
    """One message of a put; a None part is left out."""

    header: bytes | None = None
    body: bytes | None = None
    descriptor: bytes | None = None
    app_metadata: bytes | None = None

    def encode(self) -> bytes:
        out = b""
        if self.descriptor is not None:
            out += field_bytes(1, self.descriptor)
        if self.header is not None:
            out += field_bytes(2, self.header)
        if self.app_metadata is not None:
            out += field_bytes(3, self.app_metadata)
        if self.body is not None:
            out += field_bytes(1000, self.body)
        return out


def ipc_messages(
    batches: list[pa.RecordBatch], options: pa.ipc.IpcWriteOptions | None = None
) -> list[FlightData]:
    """Schema, dictionaries and batches of an IPC stream, one FlightData each."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return [
        FlightData(
            header=message.metadata.to_pybytes(),
            body=message.body.to_pybytes() if message.body is not None else None,
        )
        for message in pa.ipc.MessageReader.open_stream(sink.getvalue())
    ]


def with_descriptor(messages: list[FlightData], descriptor: bytes) -> list[FlightData]:
    return [replace(messages[0], descriptor=descriptor), *messages[1:]]


@dataclass
class Answer:
    """How a call ended: its messages, or its error."""

    messages: list[bytes] = field(default_factory=list)
    error: grpc.RpcError | None = None


class Wire:
    """Calls Flight's methods with bytes; every call has a deadline."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def call(self, method: str, frames: list[bytes], token: str | None = None) -> Answer:
        """Send the frames, close the sending side, and read until the call ends."""
        stub = self._channel.stream_stream(
            SERVICE + method, request_serializer=None, response_deserializer=None
        )
        answer = Answer()
        try:
            metadata = None if token is None else [("authorization", f"Bearer {token}")]
            for message in stub(iter(frames), timeout=self.timeout_s, metadata=metadata):
                answer.messages.append(message)
        except grpc.RpcError as error:
            answer.error = error
        return answer
