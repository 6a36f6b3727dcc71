"""Who may call what: the roles that each method needs, and the plan's routes that a hop must follow.

Nothing of this applies to an agent without certificates, which listens on loopback alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from runtimes.errors import AgentError, Forbidden
from runtimes.identity import ROLES, Identity, parse_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runtimes.assignment import Assignment
    from runtimes.hop import Hop
    from runtimes.identity import Role

_DEPLOYER: tuple[Role, ...] = ("deployer",)
# Who may change what devices do may also try it.
_CLIENT: tuple[Role, ...] = ("client", "deployer")

ALLOWED: dict[str, tuple[Role, ...]] = {
    "/placer.agent.v1.Agent/Stage": _DEPLOYER,
    "/placer.agent.v1.Agent/PutBlob": _DEPLOYER,
    "/placer.agent.v1.Agent/Prepare": _DEPLOYER,
    "/placer.agent.v1.Agent/Activate": _DEPLOYER,
    "/placer.agent.v1.Agent/Rollback": _DEPLOYER,
    "/placer.agent.v1.Agent/Status": _CLIENT,
    "/placer.agent.v1.Agent/Beat": ("device",),
    "/placer.agent.v1.Agent/Observe": _CLIENT,
    "/placer.agent.v1.Agent/Fetch": _CLIENT,
    "/placer.agent.v1.Agent/Echo": ROLES,
    "/placer.agent.v1.Agent/EchoStream": ROLES,
    # It makes a device send; who puts plans on devices does as much.
    "/placer.agent.v1.Agent/Probe": _DEPLOYER,
    "/inference.GRPCInferenceService/ServerLive": ROLES,
    "/inference.GRPCInferenceService/ServerReady": ROLES,
    "/inference.GRPCInferenceService/ModelReady": _CLIENT,
    "/inference.GRPCInferenceService/ServerMetadata": _CLIENT,
    "/inference.GRPCInferenceService/ModelMetadata": _CLIENT,
    # Of devices hops alone, of the others none: the message says which it is, see `require_client` and `require_route`.
    "/inference.GRPCInferenceService/ModelInfer": ROLES,
    "/inference.GRPCInferenceService/ModelStreamInfer": ROLES,
    "/grpc.health.v1.Health/Check": ROLES,
    "/grpc.health.v1.Health/List": ROLES,
    "/grpc.health.v1.Health/Watch": ROLES,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _CLIENT,
}
"""Roles that may call each method; a method that is not named here is refused to everybody."""


def caller_of(context: grpc.ServicerContext) -> Identity | None:
    """Give the caller that its certificate names; None on a connection without certificates.

    Raises
    ------
    Forbidden
        If the certificate has no identity of this product.
    """
    facts = context.auth_context()
    if facts.get("transport_security_type") != [b"ssl"]:
        return None
    # gRPC takes this one out of the certificate's only URI name, after the handshake has proven the certificate.
    names = facts.get("peer_spiffe_id", ())
    try:
        return parse_identity(b"".join(names).decode("ascii"))
    except (AgentError, UnicodeDecodeError) as error:
        raise Forbidden(f"the caller's certificate does not say who it is: {error}") from error


def require_client(caller: Identity | None) -> None:
    """Refuse a request for inference that does not come from a client or a deployer.

    Raises
    ------
    Forbidden
        If it comes from a device.
    """
    if caller is not None and caller.role not in _CLIENT:
        raise Forbidden(f"{caller} may not ask for inference: that needs a {' or a '.join(_CLIENT)}")


def require_route(caller: Identity | None, hop: Hop, share: Assignment | None, tensors: Collection[str]) -> None:
    """Refuse a hop that the plan does not lead here from its sender.

    Parameters
    ----------
    caller
        Whose certificate it came with; None on a connection without.
    hop, tensors
        Its header, and the names of what it carries.
    share
        This device's share of the plan that it names; None where that is not held.

    Raises
    ------
    Forbidden
        If the sender is not the device it says it is, or the plan has no such route.
    """
    if caller is None:
        return
    if (caller.role, caller.name) != ("device", hop.sender):
        raise Forbidden(f"{caller} may not send a hop of device {hop.sender!r}")
    if share is None:
        return
    flow = next((flow for flow in share.flows if flow.name == hop.flow), None)
    if flow is None or hop.kind == "tensors":
        if not any(
            (a.flow, a.sender, a.after) == (hop.flow, hop.sender, hop.after) and set(tensors) <= set(a.tensors)
            for a in share.arrivals
        ):
            raise Forbidden(
                f"{caller} may not send {sorted(tensors)} of flow {hop.flow!r} after {hop.after!r}: "
                f"plan {hop.plan!r} has no such route to device {share.device!r}"
            )
    elif hop.kind == "begin":
        if hop.sender != flow.source:
            raise Forbidden(f"{caller} may not begin requests of flow {hop.flow!r}, which {flow.source!r} does")
    elif hop.sender not in (
        flow.sink_devices if hop.kind == "done" else flow.devices if flow.source == share.device else (flow.source,)
    ):
        raise Forbidden(f"{caller} has no word in how requests of flow {hop.flow!r} end ({hop.kind})")


class Access(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses callers whose site or role does not allow the method that they call.

    Parameters
    ----------
    own
        The agent's identity: callers are of its site.
    """

    def __init__(self, own: Identity) -> None:
        self._own = own
        self._guarded: dict[str, Any] = {}

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Give the method's handler with the check before it."""
        name = handler_call_details.method
        guarded = self._guarded.get(name)
        if guarded is None:
            handler = continuation(handler_call_details)
            # A method that nobody serves is answered by gRPC, and not remembered: there is no end of names.
            if handler is None:
                return None
            guarded = self._guarded[name] = self._guard(name, handler)
        return guarded

    def _guard(self, name: str, handler: Any) -> Any:
        (form,) = (f for f in ("unary_unary", "unary_stream", "stream_unary", "stream_stream") if getattr(handler, f))
        behave = getattr(handler, form)

        def checked(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._require(name, caller_of(context))
            except Forbidden as error:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            return behave(request, context)

        # The same handler with another behaviour: grpc's handlers are named tuples.
        return handler._replace(**{form: checked})

    def _require(self, name: str, caller: Identity | None) -> None:
        method = name.rpartition("/")[2]
        if caller is None:
            raise Forbidden(f"{method} needs a certificate")
        if caller.site != self._own.site:
            raise Forbidden(f"{caller} is of another site; this is {self._own}")
        allowed = ALLOWED.get(name, ())
        if caller.role not in allowed:
            raise Forbidden(
                f"{caller} may not call {method}: that needs "
                + (f"a {' or a '.join(allowed)}" if allowed else "what no role has")
            )
