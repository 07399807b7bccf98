// Prints how each VM ended, from the oldest event on.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	pb "vmeventd.invalid/api/vmeventd/v1"
)

// codec: Debian 12's gRPC uses a protobuf that is older than its protoc-gen-go. Others need none.
type codec struct{}

func (codec) Name() string { return "proto" }
func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}
func (codec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

func main() {
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})))
	if err != nil {
		log.Fatal(err)
	}
	request := &pb.WatchEventsRequest{Start: &pb.WatchEventsRequest_FromOldest{FromOldest: true}}
	stream, err := pb.NewVmEventServiceClient(connection).WatchEvents(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			log.Fatal(err)
		}
		for _, event := range response.Events {
			if event.Type == pb.EventType_EVENT_TYPE_STOPPED {
				fmt.Println(event.Vm.Name, event.Shutdown.ShutdownClass, event.Shutdown.Cause)
			}
		}
	}
}
