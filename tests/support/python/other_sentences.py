"""A server between the clients and a vmeventd that changes every sentence for people, and nothing else."""

from concurrent import futures

import grpc

import status_pb2  # pylint: disable=import-error
from patience import patience
from vmeventd.v1 import vm_events_pb2 as pb  # pylint: disable=import-error

SERVICE = pb.DESCRIPTOR.services_by_name["VmEventService"]
# The fields that have sentences of the server.
SENTENCES = {f"vmeventd.v1.{name}" for name in (
    "Event.message", "Evidence.what", "Problem.text", "ShutdownDetail.core", "GetServerInfoResponse.waits_for")}
OTHER = 'Other words altogether, 42: "x", see `y`. Seen: nothing. CLASS: none'
STATUS_KEY = "grpc-status-details-bin"
THREADS = 256  # each stream takes one


def changed(message):
    """Changes the sentences of a message and of all in it. Returns it."""
    for field, value in message.ListFields():
        if field.full_name in SENTENCES:
            setattr(message, field.name, OTHER)
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        elif field.label == field.LABEL_REPEATED:
            for one in value:
                changed(one)
        else:
            changed(value)
    return message


def end_as(context, error):
    """Ends the call with the same status and details, in other words."""
    trailers = []
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY:
            status = status_pb2.Status.FromString(value)
            status.message = OTHER
            value = status.SerializeToString()
        trailers.append((key, value))
    context.set_trailing_metadata(trailers)
    context.abort(error.code(), OTHER)


class OtherSentences(grpc.GenericRpcHandler):
    """Listens at `address` for the daemon at `daemon`, until it is closed."""

    def __init__(self, address, daemon):
        self._channel = grpc.insecure_channel(daemon, options=[
            ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)])
        self._server = grpc.server(futures.ThreadPoolExecutor(THREADS), handlers=[self])
        self._server.add_insecure_port(address)
        self._server.start()

    def service(self, handler_call_details):
        path = handler_call_details.method
        method = SERVICE.methods_by_name.get(path.rpartition("/")[2]) if path.startswith(f"/{SERVICE.full_name}/") else None

        def decode(answer):
            return changed(getattr(pb, method.output_type.name).FromString(answer)).SerializeToString() if method else answer

        def one(request, context):
            try:
                return decode(self._channel.unary_unary(path)(request, timeout=patience()))
            except grpc.RpcError as error:
                return end_as(context, error)

        def stream(request, context):
            call = self._channel.unary_stream(path)(request)
            context.add_callback(call.cancel)
            try:
                for answer in call:
                    yield decode(answer)
            except grpc.RpcError as error:
                end_as(context, error)

        if path.endswith("/WatchEvents") or path.endswith("/Watch"):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(one)

    def close(self):
        self._server.stop(0).wait()
        self._channel.close()
