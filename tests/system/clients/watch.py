"""Prints how each VM ended, from the oldest event on."""

import sys

import grpc
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc

stub = vm_events_pb2_grpc.VmEventServiceStub(grpc.insecure_channel(sys.argv[1]))
for response in stub.WatchEvents(pb.WatchEventsRequest(from_oldest=True)):
    for event in response.events:
        if event.type == pb.EVENT_TYPE_STOPPED:
            print(event.vm.name, pb.ShutdownClass.Name(event.shutdown.shutdown_class),
                  pb.ShutdownCause.Name(event.shutdown.cause), flush=True)
