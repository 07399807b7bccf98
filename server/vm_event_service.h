#ifndef VMEVENTD_SERVER_VM_EVENT_SERVICE_H_
#define VMEVENTD_SERVER_VM_EVENT_SERVICE_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/event_store.h"
#include "server/history.h"
#include "server/queries.h"
#include "server/stream_hub.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/io/mutex.h"
#include "watcher/io/node_watcher.h"

namespace vmeventd {

// What GetServerInfo tells that never changes.
struct ServerFacts {
  std::string version;
  std::string node;
  absl::Time start_time;
};

// Every method takes and gives bytes: streams share what was encoded once, and a request that is no
// message can be answered with INVALID_ARGUMENT (gRPC itself would say UNIMPLEMENTED).
using RawVmEventService = v1::VmEventService::WithRawCallbackMethod_WatchEvents<
    v1::VmEventService::WithRawCallbackMethod_ListEvents<
        v1::VmEventService::WithRawCallbackMethod_ListVms<
            v1::VmEventService::WithRawCallbackMethod_GetVm<
                v1::VmEventService::WithRawCallbackMethod_DeclareIntent<
                    v1::VmEventService::WithRawCallbackMethod_WithdrawIntent<
                        v1::VmEventService::WithRawCallbackMethod_GetServerInfo<
                            v1::VmEventService::Service>>>>>>>;

// The RPCs: thin; what they answer is decided by Queries and StreamHub. gRPC's threads; no method
// blocks.
class VmEventServiceImpl : public RawVmEventService {
 public:
  // All outlive the service.
  VmEventServiceImpl(ServerFacts facts, const EventStore* store, const Queries* queries,
                     History* history, StreamHub* hub);

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

  // Where intents go to, from now on. `watcher` outlives the service, or StopIntents is called
  // before it ends.
  void SetWatcher(NodeWatcher* watcher);
  // Refuses intents from now on; what the watcher has been given it still answers.
  void StopIntents();

 private:
  v1::GetServerInfoResponse Info() const;
  // Calls `use` with the watcher, unless intents cannot be taken now.
  absl::Status WithWatcher(const std::function<void(NodeWatcher*)>& use);

  const ServerFacts facts_;
  const EventStore* const store_;
  const Queries* const queries_;
  History* const history_;
  StreamHub* const hub_;

  mutable Mutex mutex_;
  NodeWatcher* watcher_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_VM_EVENT_SERVICE_H_
