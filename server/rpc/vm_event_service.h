#ifndef VMEVENTD_SERVER_RPC_VM_EVENT_SERVICE_H_
#define VMEVENTD_SERVER_RPC_VM_EVENT_SERVICE_H_

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "server/access/access_policy.h"
#include "server/rpc/rpc_backend.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd {

// Every method takes and returns bytes: streams share what was encoded once, and a request that
// cannot be parsed gets INVALID_ARGUMENT (gRPC itself would answer UNIMPLEMENTED).
using RawVmEventService = v1::VmEventService::WithRawCallbackMethod_WatchEvents<
    v1::VmEventService::WithRawCallbackMethod_ListEvents<
        v1::VmEventService::WithRawCallbackMethod_ListVms<
            v1::VmEventService::WithRawCallbackMethod_GetVm<
                v1::VmEventService::WithRawCallbackMethod_DeclareIntent<
                    v1::VmEventService::WithRawCallbackMethod_WithdrawIntent<
                        v1::VmEventService::WithRawCallbackMethod_GetServerInfo<
                            v1::VmEventService::Service>>>>>>>;

// The RPCs of one listener: a thin layer. The policy decides who may call; the backend answers.
// Runs on gRPC's threads; no method blocks.
class VmEventServiceImpl : public RawVmEventService {
 public:
  // Both must outlive the service.
  VmEventServiceImpl(RpcBackend* backend, const AccessPolicy* policy)
      : backend_(backend), policy_(policy) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchEvents(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* ListEvents(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListVms(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetVm(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeclareIntent(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* WithdrawIntent(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;

 private:
  // Reads a request. RESOURCE_EXHAUSTED, counted: it is too large.
  template <typename Message>
  absl::Status Parse(const grpc::ByteBuffer& bytes, Message* message) const;
  template <typename Request, typename Answer>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response,
                                  Answer answer);

  RpcBackend* const backend_;
  const AccessPolicy* const policy_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_VM_EVENT_SERVICE_H_
