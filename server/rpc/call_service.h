#pragma once

#include <map>
#include <string>
#include <utility>

#include "grpcpp/generic/async_generic_service.h"
#include "server/access/clients.h"
#include "server/rpc/call_gate.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

// The methods of all services, each as IncomingCalls. Unknown methods are refused.
class CallService : public grpc::CallbackGenericService {
 public:
  // `gate` outlives the service.
  explicit CallService(CallGate* gate) : gate_(gate) {}

  // Adds a method, before the server starts: `path` is "/package.Service/Method".
  void Add(const std::string& path, IncomingCall::Handler handler,
           CallKind kind = CallKind::kOther) {
    methods_.try_emplace(path, Method{std::move(handler), kind});
  }

 private:
  struct Method {
    IncomingCall::Handler handler;
    CallKind kind;
  };
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const auto found = methods_.find(context->method());
    if (found == methods_.end()) {
      return IncomingCall::Start(context, CallKind::kOther, nullptr, gate_);
    }
    return IncomingCall::Start(context, found->second.kind, &found->second.handler, gate_);
  }

  CallGate* const gate_;
  std::map<std::string, Method> methods_;
};

}  // namespace vmeventd
