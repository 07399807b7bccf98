#include "server/vm_event_service.h"

#include <utility>

#include "server/event_codec.h"
#include "server/grpc_status.h"
#include "server/raw_message.h"

namespace vmeventd {
namespace {

// Finishes a call with the bytes of its response, or why there are none.
absl::Status FinishCall(const absl::StatusOr<std::string>& answered, grpc::ByteBuffer* response,
                        grpc::ServerUnaryReactor* reactor) {
  if (answered.ok()) {
    const grpc::Slice slice(*answered);
    *response = grpc::ByteBuffer(&slice, 1);
  }
  reactor->Finish(ToGrpcStatus(answered.status()));
  return answered.status();
}

// Reads one request, answers it with `answer`, which returns the bytes of the response.
template <typename Request, typename Answer>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes,
                                grpc::ByteBuffer* response, Answer answer) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Request request;
  absl::Status status = ParseMessage(bytes, &request);
  FinishCall(status.ok() ? answer(request) : status, response, reactor).IgnoreError();
  return reactor;
}

absl::StatusOr<std::string> NoIntentsYet() {
  return absl::UnimplementedError(
      "this version of vmeventd takes no declared intents; it tells who stopped a VM from what it "
      "sees");
}

}  // namespace

VmEventServiceImpl::VmEventServiceImpl(ServerFacts facts, const EventStore* store,
                                       const Queries* queries, History* history, StreamHub* hub)
    : facts_(std::move(facts)), store_(store), queries_(queries), history_(history), hub_(hub) {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* VmEventServiceImpl::WatchEvents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return hub_->Open(context, *request);
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListEvents(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  v1::ListEventsRequest message;
  absl::Status status = ParseMessage(*request, &message);
  if (status.ok()) {
    status = history_->PostQuery([this, reactor, response, message = std::move(message)](
                                     const absl::StatusOr<JournalReader*>& journal) {
      return FinishCall(queries_->ListEvents(message, journal), response, reactor);
    });
  }
  if (!status.ok()) reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListVms(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return Unary<v1::ListVmsRequest>(
      context, *request, response,
      [this](const v1::ListVmsRequest& message) { return queries_->ListVms(message); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::GetVm(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return Unary<v1::GetVmRequest>(
      context, *request, response,
      [this](const v1::GetVmRequest& message) { return queries_->GetVm(message); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::DeclareIntent(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  return Unary<v1::DeclareIntentRequest>(
      context, *request, response, [](const v1::DeclareIntentRequest&) { return NoIntentsYet(); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::WithdrawIntent(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer* request,
                                                             grpc::ByteBuffer* response) {
  return Unary<v1::WithdrawIntentRequest>(
      context, *request, response, [](const v1::WithdrawIntentRequest&) { return NoIntentsYet(); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::GetServerInfo(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  return Unary<v1::GetServerInfoRequest>(
      context, *request, response,
      [this](const v1::GetServerInfoRequest&) -> absl::StatusOr<std::string> {
        return Info().SerializeAsString();
      });
}

v1::GetServerInfoResponse VmEventServiceImpl::Info() const {
  v1::GetServerInfoResponse info;
  info.set_version(facts_.version);
  info.set_node(facts_.node);
  info.set_journal_id(store_->journal_id());
  const EventStore::Range range = store_->range();
  info.set_oldest_sequence(range.oldest);
  info.set_newest_sequence(range.newest);
  *info.mutable_start_time() = ToTimestamp(facts_.start_time);
  for (const WatchedDirectory& directory : store_->directories()) {
    v1::WatchedDirectory* out = info.add_directories();
    out->set_path(directory.path);
    out->set_pattern(directory.pattern);
    out->set_present(directory.present);
    out->set_sockets(directory.sockets);
  }
  info.set_vms(store_->vm_count());
  info.set_streams(hub_->stream_count());
  info.set_journal_writable(store_->journal_writable());
  info.set_exit_status_source("none");
  return info;
}

}  // namespace vmeventd
