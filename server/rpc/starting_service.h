#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/access/access_policy.h"
#include "server/rpc/call_service.h"
#include "server/rpc/server_facts.h"
#include "server/rpc/service_methods.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The methods while the start waits for the disk: GetServerInfo reports that; all others return
// UNAVAILABLE. Any thread; no method blocks.
class StartingService : public ServiceMethods {
 public:
  // `waits_for` returns what GetServerInfo reports; called at any time, on any thread.
  StartingService(ServerFacts facts, std::function<std::string()> waits_for)
      : facts_(std::move(facts)), waits_for_(std::move(waits_for)) {}

  void AddTo(CallService* methods, AccessPolicy* policy,
             std::function<std::vector<v1::Listener>()> listeners) override;
  void CheckDeadlines() override {}

 private:
  const ServerFacts facts_;
  const std::function<std::string()> waits_for_;
};

}  // namespace vmeventd
