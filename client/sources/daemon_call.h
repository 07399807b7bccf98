#pragma once

#include <optional>

#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/sources/daemon_node.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

// Sends one unary request to a daemon, or reads all pages of a list. For sources and commands.

namespace vmeventd::client {

using Stub = v1::VmEventService::StubInterface;
template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

// Asks the server once. CANCELLED: there is no connection.
template <typename Request, typename Response>
grpc::Status Ask(const DaemonNode& daemon, Method<Request, Response> method, const Request& request,
                 Response* response) {
  if (!daemon.connected.ok()) return grpc::Status::CANCELLED;
  grpc::ClientContext call;
  SetRequestDeadline(&call);
  return (daemon.stub.get()->*method)(&call, request, response);
}

// Requests all pages, and calls `take` with each page until it returns false.
template <typename Request, typename Response, typename Take>
std::optional<Failure> ReadPages(const DaemonNode& daemon, Method<Request, Response> method,
                                 Request request, const Take& take) {
  do {
    Response page;
    const grpc::Status status = Ask(daemon, method, request, &page);
    if (!status.ok()) return daemon.Explain(status);
    if (!take(&page)) break;
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return std::nullopt;
}

}  // namespace vmeventd::client
