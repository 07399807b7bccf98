#include "server/transport/grpc_ping.h"

#include <utility>

#include "grpcpp/grpcpp.h"

namespace vmeventd {

// One ping in progress. Owns itself.
struct GrpcPing::Pinged {
  std::function<void()> done;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::ClientContext context;
};

// Without credentials a channel leads nowhere: each call fails at once, and gRPC reports that where
// it reports everything else.
GrpcPing::GrpcPing() : stub_(grpc::CreateChannel("", nullptr)) {}

void GrpcPing::Ping(std::function<void()> done) {
  const grpc::Slice empty;
  auto* const pinged = new Pinged{std::move(done), grpc::ByteBuffer(&empty, 1), {}, {}};
  stub_.UnaryCall(&pinged->context, "/vmeventd.internal/Ping", grpc::StubOptions(),
                  &pinged->request, &pinged->response, [pinged](const grpc::Status&) {
                    const std::function<void()> answered = std::move(pinged->done);
                    // The context holds a reference to the channel, and after the answer this may
                    // go: the last reference must not go on this thread, which belongs to the
                    // channel (gRPC 1.51 frees the completion queue that the thread goes on to
                    // use).
                    delete pinged;
                    answered();
                  });
}

}  // namespace vmeventd
