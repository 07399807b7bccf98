#include "tests/support/daemon.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/call_deadline.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/is_serving.h"
#include "tests/support/programs.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

void Check(const grpc::Status& status, const std::string& method) {
  if (!status.ok()) Fail(method + ": " + status.error_message());
}

}  // namespace

ChildOptions DaemonCommand(const DaemonOptions& options) {
  ChildOptions child;
  child.arguments = options.wrapper;
  if (options.tuning.empty()) {
    child.arguments.push_back(options.program);
  } else {
    child.arguments.push_back(TestProgramPath("vmeventd_tuned"));
    child.arguments.insert(child.arguments.end(), options.tuning.begin(), options.tuning.end());
  }
  child.arguments.insert(child.arguments.end(),
                         {"--listen", "unix:" + options.socket, "--state-dir", options.state_dir,
                          "--signal-senders", options.signal_senders});
  for (const std::string& watch : options.watches) {
    child.arguments.insert(child.arguments.end(), {"--watch", watch});
  }
  child.arguments.insert(child.arguments.end(), options.arguments.begin(), options.arguments.end());
  child.error_file = options.log_file;
  child.max_descriptors = options.max_descriptors;
  return child;
}

Daemon::Daemon(const DaemonOptions& options, bool wait)
    : options_(options), address_("unix:" + options.socket), process_(DaemonCommand(options)) {
  if (wait) WaitReady();
}

void Daemon::WaitReady() {
  WaitUntil("the daemon accepts connections at " + options_.socket, [&] {
    if (process_.has_exited()) Fail("the daemon has ended: " + ReadFile(options_.log_file));
    const int connection = ConnectUnix(options_.socket);
    if (connection >= 0) close(connection);
    return connection >= 0;
  });
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
  // Each daemon of a test has its own channels.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  stub_ = v1::VmEventService::NewStub(channel_);
  WaitUntil("the daemon is ready", [&] { return IsServing(channel_); });
}

std::string Daemon::Log() const { return ReadFile(options_.log_file); }

void Daemon::WaitLog(const std::string& text) const {
  WaitUntil("the log has: " + text, [&] { return absl::StrContains(Log(), text); });
}

v1::Vm Daemon::GetVm(const std::string& name) {
  grpc::ClientContext context;
  context.set_deadline(CallDeadline());
  v1::GetVmRequest request;
  request.set_vm_name(name);
  v1::GetVmResponse response;
  Check(stub_->GetVm(&context, request, &response), "GetVm " + name);
  return response.vm();
}

size_t Daemon::ResidentMiB() const {
  if (ProgramsAreSanitized()) {
    Fail("a sanitizer makes memory large: only the shipped daemon's is bounded");
  }
  std::ifstream file(absl::StrCat("/proc/", pid(), "/statm"));
  size_t pages = 0;
  file >> pages >> pages;
  if (pages == 0) Fail("the daemon's memory cannot be read");
  return pages * static_cast<size_t>(getpagesize()) >> 20;
}

std::vector<v1::Vm> Daemon::ListVms(bool include_stopped) {
  std::vector<v1::Vm> vms;
  v1::ListVmsRequest request;
  request.set_include_stopped(include_stopped);
  do {
    grpc::ClientContext context;
    context.set_deadline(CallDeadline());
    v1::ListVmsResponse response;
    Check(stub_->ListVms(&context, request, &response), "ListVms");
    vms.insert(vms.end(), response.vms().begin(), response.vms().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return vms;
}

std::vector<v1::Event> Daemon::ListEvents() {
  std::vector<v1::Event> events;
  v1::ListEventsRequest request;
  request.set_page_size(1000);
  do {
    grpc::ClientContext context;
    context.set_deadline(CallDeadline());
    v1::ListEventsResponse response;
    Check(stub_->ListEvents(&context, request, &response), "ListEvents");
    events.insert(events.end(), response.events().begin(), response.events().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return events;
}

v1::GetServerInfoResponse Daemon::GetServerInfo() {
  grpc::ClientContext context;
  context.set_deadline(CallDeadline());
  v1::GetServerInfoResponse response;
  Check(stub_->GetServerInfo(&context, {}, &response), "GetServerInfo");
  return response;
}

}  // namespace vmeventd::e2e
