# mypy: ignore-errors
from runtimes.protos import open_inference_grpc_pb2 as _open_inference_grpc_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StageRequest(_message.Message):
    __slots__ = ("manifest",)
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    def __init__(self, manifest: _Optional[bytes] = ...) -> None: ...

class StageReply(_message.Message):
    __slots__ = ("missing",)
    class Missing(_message.Message):
        __slots__ = ("sha256", "received_bytes")
        SHA256_FIELD_NUMBER: _ClassVar[int]
        RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
        sha256: str
        received_bytes: int
        def __init__(self, sha256: _Optional[str] = ..., received_bytes: _Optional[int] = ...) -> None: ...
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedCompositeFieldContainer[StageReply.Missing]
    def __init__(self, missing: _Optional[_Iterable[_Union[StageReply.Missing, _Mapping]]] = ...) -> None: ...

class BlobChunk(_message.Message):
    __slots__ = ("sha256", "offset", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    offset: int
    data: bytes
    def __init__(self, sha256: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutBlobReply(_message.Message):
    __slots__ = ("stored_bytes",)
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    stored_bytes: int
    def __init__(self, stored_bytes: _Optional[int] = ...) -> None: ...

class PlanEpoch(_message.Message):
    __slots__ = ("plan", "epoch")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    plan: str
    epoch: int
    def __init__(self, plan: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class PrepareReply(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, segments: _Optional[_Iterable[str]] = ...) -> None: ...

class ActivateReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("epoch", "plan")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    plan: str
    def __init__(self, epoch: _Optional[int] = ..., plan: _Optional[str] = ...) -> None: ...

class RollbackReply(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: str
    def __init__(self, plan: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("device", "version", "held", "open_requests", "last_sequence", "trouble", "lost")
    class Held(_message.Message):
        __slots__ = ("plan", "epoch", "state", "segments", "devices", "sources")
        PLAN_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        SEGMENTS_FIELD_NUMBER: _ClassVar[int]
        DEVICES_FIELD_NUMBER: _ClassVar[int]
        SOURCES_FIELD_NUMBER: _ClassVar[int]
        plan: str
        epoch: int
        state: str
        segments: _containers.RepeatedScalarFieldContainer[str]
        devices: _containers.RepeatedScalarFieldContainer[str]
        sources: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, plan: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[str] = ..., segments: _Optional[_Iterable[str]] = ..., devices: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[str]] = ...) -> None: ...
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    OPEN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    device: str
    version: str
    held: _containers.RepeatedCompositeFieldContainer[StatusReply.Held]
    open_requests: int
    last_sequence: int
    trouble: str
    lost: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, device: _Optional[str] = ..., version: _Optional[str] = ..., held: _Optional[_Iterable[_Union[StatusReply.Held, _Mapping]]] = ..., open_requests: _Optional[int] = ..., last_sequence: _Optional[int] = ..., trouble: _Optional[str] = ..., lost: _Optional[_Iterable[str]] = ...) -> None: ...

class BeatRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BeatReply(_message.Message):
    __slots__ = ("lost",)
    LOST_FIELD_NUMBER: _ClassVar[int]
    lost: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lost: _Optional[_Iterable[str]] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("since",)
    SINCE_FIELD_NUMBER: _ClassVar[int]
    since: int
    def __init__(self, since: _Optional[int] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("kind", "flow", "segment", "device", "to", "request", "seconds", "padded_s", "queue_s", "bytes", "sequence", "epoch", "variant")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PADDED_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    flow: str
    segment: str
    device: str
    to: str
    request: str
    seconds: float
    padded_s: float
    queue_s: float
    bytes: int
    sequence: int
    epoch: int
    variant: str
    def __init__(self, kind: _Optional[str] = ..., flow: _Optional[str] = ..., segment: _Optional[str] = ..., device: _Optional[str] = ..., to: _Optional[str] = ..., request: _Optional[str] = ..., seconds: _Optional[float] = ..., padded_s: _Optional[float] = ..., queue_s: _Optional[float] = ..., bytes: _Optional[int] = ..., sequence: _Optional[int] = ..., epoch: _Optional[int] = ..., variant: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("request", "flow")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    request: str
    flow: str
    def __init__(self, request: _Optional[str] = ..., flow: _Optional[str] = ...) -> None: ...

class EchoRequest(_message.Message):
    __slots__ = ("payload", "reply_bytes")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REPLY_BYTES_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    reply_bytes: int
    def __init__(self, payload: _Optional[bytes] = ..., reply_bytes: _Optional[int] = ...) -> None: ...

class EchoReply(_message.Message):
    __slots__ = ("payload", "device")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    device: str
    def __init__(self, payload: _Optional[bytes] = ..., device: _Optional[str] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("device", "address")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    device: str
    address: str
    def __init__(self, device: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("measured",)
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    measured: bytes
    def __init__(self, measured: _Optional[bytes] = ...) -> None: ...
