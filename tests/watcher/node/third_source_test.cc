// What the watcher asks of any source, of one that it knows nothing of.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/health.h"
#include "tests/support/test_util.h"
#include "tests/support/wait.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_counters.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

// A run without a process, of which the test is the monitor.
class ThirdRun : public VmRun {
 public:
  using VmRun::VmRun;
  void Begin() { Hand(input::MonitorReady{{"9.2", "running", "", ""}}); }
  void PowerOff() {
    QmpEvent event{.name = "SHUTDOWN"};
    event.data["guest"] = true;
    event.data["reason"] = "guest-shutdown";
    HandleQmpEvent(event);
    Hand(input::MonitorClosed{"closed"});
    End();
  }

  bool connected() const override { return true; }
  std::optional<HandedRun> HandOver() override { return std::nullopt; }
  bool ResumeFrom(HandedRun*) override { return false; }
  void ReadNow() override {}

 private:
  void OnProcessGone() override {}
  void Ask(Question) override {}
  void Disconnect() override {}
};

class ThirdSource : public RunSource {
 public:
  ThirdSource(RunContext* context, RunTable* table) : context_(context), table_(table) {}

  VmRun* Restore(VmSession*) override { return nullptr; }
  void Start() override { started = true; }
  bool first_scan_done() const override { return scanned; }
  void EndTurn() override { ++turns; }
  void OnOver(VmRun* run) override { over.push_back(run->info().name); }
  bool is_open() const override { return open; }
  bool waits() const override { return waiting; }
  std::vector<ServiceHealth> Health() const override { return {{"third", open}}; }
  void Describe(v1::GetServerInfoResponse* info) const override {
    info->add_unfollowed_sockets()->set_path("/third");
  }
  void Counters(WatcherCounters* all) const override { all->rescans += 3; }

  ThirdRun* Find(const std::string& name) {
    RunInfo info;
    info.name = info.raw_name = name;
    info.run_id = "run-" + name;
    info.source = "third:";
    info.process_tracked = false;
    auto run = std::make_unique<ThirdRun>(
        context_, table_,
        VmSession(std::move(info), &context_->options->session, context_->loop->Now()));
    ThirdRun* const found = run.get();
    table_->Add(this, std::move(run));
    found->Begin();
    return found;
  }

  bool started = false;
  bool scanned = false;
  bool open = false;
  bool waiting = false;
  int turns = 0;
  std::vector<std::string> over;

 private:
  RunContext* const context_;
  RunTable* const table_;
};

class ThirdSourceTest : public testing::Test {
 protected:
  ThirdSourceTest() {
    WatcherOptions options;
    options.more_sources = {[this](RunContext* context, RunTable* table, EventSink*) {
      auto made = std::make_unique<ThirdSource>(context, table);
      source_ = made.get();
      return made;
    }};
    watcher_ = NodeWatcher::Create(std::move(options), &clock_, &sink_).value();
    Turn();
  }
  void Turn() { watcher_->RunOnce(absl::ZeroDuration()); }

  const ManualClock clock_;
  RecordingSink sink_;
  std::unique_ptr<NodeWatcher> watcher_;
  ThirdSource* source_ = nullptr;  // the watcher's
};

TEST_F(ThirdSourceTest, ItsRunBeginsAndItsEndIsPublished) {
  ASSERT_TRUE(source_->started);
  ThirdRun* const run = source_->Find("web1");
  Turn();
  EXPECT_EQ(sink_.Latest("web1")->ref().source(), "third:");
  run->PowerOff();
  Turn();
  EXPECT_THAT(sink_.Types("web1"), ElementsAre(EventType::kStarted, EventType::kStopped));
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.event->shutdown().shutdown_class(),
            ShutdownClass::kUser);
  EXPECT_THAT(source_->over, ElementsAre("web1"));
}

TEST_F(ThirdSourceTest, ItsFirstScanIsWaitedFor) {
  for (int i = 0; i < 10; ++i) Turn();
  EXPECT_FALSE(watcher_->first_scan_done());
  source_->scanned = true;
  EXPECT_TRUE(StepUntil([this] { Turn(); }, [this] { return watcher_->first_scan_done(); }));
  EXPECT_GE(source_->turns, 10);
}

TEST_F(ThirdSourceTest, ItsHealthIsReportedWithThatOfTheOthers) {
  const auto services = [this] {
    std::vector<std::string> names;
    for (const ServiceHealth& health : watcher_->Health()) names.emplace_back(health.service);
    return names;
  };
  EXPECT_THAT(services(), ElementsAre("sources", "watch", "libvirt", "third"));
  EXPECT_FALSE(Serves(*watcher_, "third"));
  EXPECT_FALSE(Serves(*watcher_, "sources")) << "nothing else is watched";
  source_->open = true;
  EXPECT_TRUE(Serves(*watcher_, "third"));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  EXPECT_FALSE(watcher_->waits());
  source_->waiting = true;
  EXPECT_TRUE(watcher_->waits());
}

TEST_F(ThirdSourceTest, TheWatcherHasItsDescriptionAndItsCounters) {
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets(0).path(), "/third");
  EXPECT_EQ(watcher_->counters().rescans, 3u);
}

// A library is loaded at the start for what is named only.
TEST(SourceLibrariesTest, NoLibraryIsNeededForAnOptionalSource) {
  WatcherOptions options;
  EXPECT_TRUE(NodeWatcher::LoadLibraries(&options).ok());
  options.sources = options.sources.Resolved();
  EXPECT_TRUE(NodeWatcher::LoadLibraries(&options).ok());
  EXPECT_EQ(options.libvirt_api, nullptr);
}

// The start serves these names before there is a watcher.
TEST(SourceServicesTest, AreThoseOfTheSourcesThatEveryWatcherHas) {
  const ManualClock clock;
  RecordingSink sink;
  const auto watcher = NodeWatcher::Create(WatcherOptions(), &clock, &sink).value();
  std::vector<std::string> names = {"sources"};
  for (const char* name : NodeWatcher::SourceServices()) names.emplace_back(name);
  std::vector<std::string> served;
  for (const ServiceHealth& health : watcher->Health()) served.emplace_back(health.service);
  EXPECT_EQ(served, names);
}

}  // namespace
}  // namespace vmeventd
