#include "server/rpc/starting_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {

void StartingService::AddTo(CallService* methods, AccessPolicy* /*policy*/,
                            std::function<std::vector<v1::Listener>()> listeners) {
  const google::protobuf::ServiceDescriptor& service =
      *v1::GetServerInfoRequest::descriptor()->file()->FindServiceByName("VmEventService");
  for (int i = 0; i < service.method_count(); ++i) {
    const std::string& name = service.method(i)->name();
    if (name == "GetServerInfo") continue;
    methods->Add(MethodPath(name), [this](IncomingCall* call) {
      call->Answer(WithReason(
          "JOURNAL_UNAVAILABLE",
          absl::UnavailableError(absl::StrCat("vmeventd starts and waits for ", waits_for_()))));
    });
  }
  methods->Add(MethodPath("GetServerInfo"), [this, listeners](IncomingCall* call) {
    v1::GetServerInfoResponse info;
    info.set_version(facts_.version);
    info.set_node(facts_.node);
    *info.mutable_start_time() = ToTimestamp(facts_.start_time);
    info.set_waits_for(waits_for_());
    for (v1::Listener& listener : listeners()) *info.add_listeners() = std::move(listener);
    call->Answer(info.SerializeAsString());
  });
}

}  // namespace vmeventd
