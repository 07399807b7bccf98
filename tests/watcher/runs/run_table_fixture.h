#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"
#include "tests/support/problem_texts.h"
#include "tests/support/recording_sink.h"
#include "tests/support/temporary_directory.h"
#include "tests/watcher/runs/fake_run.h"
#include "watcher/core/proto_time.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_restorer.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// A table of fake runs, and the source that they have.
class RunTableFixture : public testing::Test, public RunSource {
 protected:
  RunTableFixture() {
    context_.options = &watcher_options_;
    context_.loop = loop_.get();
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    context_.boot_id = "run";
    context_.max_vm_descriptors = 100;
  }

  void Start() override {}
  bool first_scan_done() const override { return true; }
  void EndTurn() override {}
  void Restore(VmSession session) override {
    table_.Add(this, std::make_unique<FakeRun>(&context_, &table_, std::move(session)));
  }
  bool is_open() const override { return true; }
  std::vector<ServiceHealth> Health() const override { return {}; }
  void Describe(v1::GetServerInfoResponse*) const override {}
  std::vector<SourceMetric> Metrics() const override { return {}; }
  std::string Trouble() const override { return ""; }
  void OnOver(VmRun* run) override { over_.emplace_back(run->info().name); }

  RunInfo Info(const std::string& name, const std::string& run_id) const {
    RunInfo info;
    info.name = info.raw_name = name;
    info.run_id = run_id;
    info.source_key = "test";
    info.monitor_path = info.raw_path = directory_.Path(name + ".sock");
    info.process_tracked = false;
    return info;
  }
  void Declare(VmRun* run) const {
    v1::Intent intent;
    intent.set_intent_id("intent-1");
    *intent.mutable_expire_time() = ToTimestamp(clock_.Now().wall + absl::Hours(1));
    run->DeclareIntent(intent, [] {});
  }
  FakeRun* Add(const std::string& name, const std::string& run_id) {
    return Add(Info(name, run_id));
  }
  FakeRun* Add(RunInfo info) {
    auto run = std::make_unique<FakeRun>(&context_, &table_,
                                         VmSession(std::move(info), &options_, clock_.Now()));
    FakeRun* const added = run.get();
    table_.Add(this, std::move(run));
    added->BecomeReady();
    return added;
  }
  std::vector<std::string> ProblemsOf(const std::string& name) const {
    return ProblemTexts(sink_.Latest(name)->problems());
  }
  void Restore(std::vector<std::string> saved) {
    RestoreRuns(&context_, &table_, {{"test", this}}, saved, {});
  }

  TemporaryDirectory directory_;
  ManualClock clock_;
  RecordingSink sink_;
  SessionOptions options_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> exit_statuses_ =
      ExitStatusReader::Create(loop_.get(), ExitStatusSource::kNone);
  OomCounters oom_counters_{directory_.path()};
  SignalWatch signals_{loop_.get(), {}};
  HostWatch host_{loop_.get(), nullptr, ""};
  const WatcherOptions watcher_options_;
  RunContext context_;
  RunTable table_{&sink_, &context_.meters};
  std::vector<std::string> over_;
};

}  // namespace vmeventd
