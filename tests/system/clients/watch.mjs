// Prints how each VM ended, from the oldest event on.
import {create, fromBinary, toBinary} from '@bufbuild/protobuf';
import grpc from '@grpc/grpc-js';

import {ShutdownCauseSchema, ShutdownClassSchema, VmEventService} from './gen/vmeventd/v1/vm_events_pb.js';

const {input, output, name} = VmEventService.method.watchEvents;
const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const stream = client.makeServerStreamRequest(
    `/${VmEventService.typeName}/${name}`, (request) => Buffer.from(toBinary(input, request)),
    (bytes) => fromBinary(output, bytes), create(input, {start: {case: 'fromOldest', value: true}}));
stream.on('data', ({events}) => {
  for (const {vm, shutdown} of events) {
    if (!shutdown) continue;
    console.log(vm.name, ShutdownClassSchema.value[shutdown.shutdownClass].name,
                ShutdownCauseSchema.value[shutdown.cause].name);
  }
});
stream.on('error', console.error);
