#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "gtest/gtest.h"
#include "tests/support/proto_text.h"
#include "watcher/core/qemu_program.h"

namespace vmeventd::client {

inline constexpr uint32_t kListener = 100;
inline constexpr uint32_t kAccepted = 101;
inline constexpr uint32_t kClient = 102;

inline NodeProcess Process(int64_t pid, std::string program, std::vector<std::string> arguments) {
  NodeProcess process = {.pid = pid,
                         .program = std::move(program),
                         .arguments = std::move(arguments),
                         .state = 'S',
                         .user = "root",
                         .sees_descriptors = true};
  if (IsQemu(process.arguments)) process.qemu.emplace();
  if (process.program == kDaemonProgram) process.daemon.emplace();
  return process;
}

// A node with one QEMU, web1, whose monitor is free, and a daemon that watches its directory.
inline NodeFacts HealthyNode() {
  NodeFacts facts;
  facts.examined = true;
  facts.is_root = true;
  facts.watches = {{{"/run/qemu", "*.qmp"}, true}};
  auto qemu = Process(7, "qemu-system-x86",
                      {"qemu-system-x86_64", "-name", "web1", "-qmp",
                       "unix:/run/qemu/web1.qmp,server=on,wait=off"});
  qemu.sockets = {{9, kListener}};
  facts.processes.push_back(std::move(qemu));
  facts.sockets.push_back({kListener, "/run/qemu/web1.qmp", true});
  return facts;
}

inline void Connect(NodeFacts* facts, NodeProcess client) {
  facts->sockets.push_back({kAccepted, "/run/qemu/web1.qmp", false, false, kClient});
  facts->sockets.push_back({kClient, "", false, false, kAccepted});
  facts->processes[0].sockets[10] = kAccepted;
  client.sockets = {{3, kClient}};
  facts->processes.push_back(std::move(client));
}

// The only finding, which must be of that kind.
inline Finding Only(const NodeFacts& facts, const std::string& kind) {
  const Diagnosis diagnosis = Diagnose(facts);
  EXPECT_EQ(diagnosis.findings.size(), 1);
  if (diagnosis.findings.empty()) return {};
  EXPECT_EQ(diagnosis.findings[0].kind, kind) << diagnosis.findings[0].what;
  return diagnosis.findings[0];
}

// web1 as vmeventd has it, with a problem.
inline v1::Vm WithAProblem() {
  return FromText<v1::Vm>(
      "ref { name: 'web1' pid: 7 } monitor_path: '/run/qemu/web1.qmp' problems { text: 'P' }");
}

// The only QEMU, of this command line, without a socket that is for followers.
inline void Become(NodeFacts* facts, const char* arguments, uint32_t uid = 0) {
  facts->processes[0].arguments = absl::StrSplit(arguments, ' ');
  facts->processes[0].uid = uid;
  facts->processes[0].user = uid == 0 ? "root" : "alice";
  facts->processes[0].sockets.clear();
  facts->sockets.clear();
}

// The facts of a healthy node, which a test changes.
class DiagnosisTest : public testing::Test {
 protected:
  NodeFacts facts_ = HealthyNode();
};

}  // namespace vmeventd::client
