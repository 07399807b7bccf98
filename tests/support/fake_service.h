#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "google/rpc/status.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "tests/support/proto_text.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// The messages that a fake server sends on one WatchEvents stream.
struct StreamScript {
  std::vector<v1::WatchEventsResponse> messages;
  grpc::Status end;  // sent after the last message
  bool hold_open =
      false;  // stays open after the last message, until the client or the server ends the stream
};

// A VmEventService that follows scripts. Change its settings only while no call is running.
class FakeService : public v1::VmEventService::Service {
 public:
  // The scripts of the next streams, one for each. A stream without a script ends with UNAVAILABLE.
  std::deque<StreamScript> streams;
  std::function<grpc::Status(const v1::ListEventsRequest&, v1::ListEventsResponse*)> list_events;
  std::function<grpc::Status(const v1::CountEventsRequest&, v1::CountEventsResponse*)> count_events;
  std::function<grpc::Status(const v1::ListVmsRequest&, v1::ListVmsResponse*)> list_vms;
  std::function<grpc::Status(const v1::GetVmRequest&, v1::GetVmResponse*)> get_vm;
  std::function<grpc::Status(const v1::DeclareIntentRequest&, v1::DeclareIntentResponse*)>
      declare_intent;
  v1::GetServerInfoResponse info;
  // Pages of ListStreams.
  std::vector<v1::ListStreamsResponse> stream_pages;

  // The requests of all streams so far.
  std::vector<v1::WatchEventsRequest> WatchRequests() const;
  // Ends the streams that are held open.
  void Release();

 private:
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override;
  grpc::Status ListEvents(grpc::ServerContext* /*context*/, const v1::ListEventsRequest* request,
                          v1::ListEventsResponse* response) override {
    return list_events(*request, response);
  }
  grpc::Status CountEvents(grpc::ServerContext* /*context*/, const v1::CountEventsRequest* request,
                           v1::CountEventsResponse* response) override {
    return count_events(*request, response);
  }
  grpc::Status ListVms(grpc::ServerContext* /*context*/, const v1::ListVmsRequest* request,
                       v1::ListVmsResponse* response) override {
    return list_vms(*request, response);
  }
  grpc::Status GetVm(grpc::ServerContext* /*context*/, const v1::GetVmRequest* request,
                     v1::GetVmResponse* response) override {
    return get_vm(*request, response);
  }
  grpc::Status DeclareIntent(grpc::ServerContext* /*context*/,
                             const v1::DeclareIntentRequest* request,
                             v1::DeclareIntentResponse* response) override {
    return declare_intent(*request, response);
  }
  grpc::Status ListStreams(grpc::ServerContext* /*context*/, const v1::ListStreamsRequest* request,
                           v1::ListStreamsResponse* response) override {
    for (const v1::ListStreamsResponse& page : stream_pages) {
      *response = page;
      if (request->page_token().empty() || &page == &stream_pages.back()) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status GetServerInfo(grpc::ServerContext* /*context*/,
                             const v1::GetServerInfoRequest* /*request*/,
                             v1::GetServerInfoResponse* response) override {
    *response = info;
    return grpc::Status::OK;
  }

  mutable std::mutex mutex_;
  std::condition_variable released_changed_;
  bool released_ = false;
  std::vector<v1::WatchEventsRequest> watch_requests_;
};

// Behaviors for a method of the service: it answers with the message that `text` describes, or it
// fails.
template <typename Response>
auto Answers(const std::string& text) {
  return [answer = FromText<Response>(text)](const auto& /*request*/, Response* response) {
    *response = answer;
    return grpc::Status::OK;
  };
}
inline auto Refuses(const grpc::Status& status) {
  return [status](const auto& /*request*/, auto* /*response*/) { return status; };
}

// The status of a failed call, with the details for programs that vmeventd adds.
inline grpc::Status WithInfo(grpc::StatusCode code, const std::string& message,
                             const std::string& reason,
                             const std::map<std::string, std::string>& metadata = {}) {
  google::rpc::ErrorInfo info;
  info.set_domain("vmeventd");
  info.set_reason(reason);
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, message, details.SerializeAsString()};
}

}  // namespace vmeventd::client
