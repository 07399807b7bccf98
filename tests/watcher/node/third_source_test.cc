// The questions that the watcher asks any source, answered by one that it does not know.

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/health.h"
#include "tests/support/manual_clock.h"
#include "tests/support/recording_sink.h"
#include "tests/support/third_setting.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/core/service_health.h"
#include "watcher/core/source_specs.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/node/node_watcher.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/source_metric.h"
#include "watcher/runs/source_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr char kThirdKey[] = "third";

// A run of which the test is the monitor, and a child of the test is QEMU.
class ThirdRun : public VmRun {
 public:
  using VmRun::VmRun;
  void Begin() {
    connected_ = true;
    Feed(input::MonitorReady{{"9.2", "running", "", ""}});
  }
  void ShutDown() {
    QmpEvent event{.name = "SHUTDOWN"};
    event.data["guest"] = true;
    event.data["reason"] = "guest-shutdown";
    HandleQmpEvent(event);
  }
  void LoseMonitor() {
    connected_ = false;
    Feed(input::MonitorClosed{"EOF"});
  }
  void SetLabels(const Labels& labels) { Feed(input::NewLabels{labels}); }

  bool connected() const override { return connected_; }
  std::optional<HandedRun> HandOver() override {
    if (over() || !followed()) return std::nullopt;
    HandedRun handed;
    HandOverTo(&handed);
    return handed;
  }
  bool ResumeFrom(HandedRun* handed) override {
    if (!TrackHanded(std::move(handed->process)).ok()) return false;
    connected_ = true;
    Feed(input::TakenOver{});
    return true;
  }
  void ReadNow() override {}

 private:
  void OnProcessGone() override { process().AwaitEnd(); }
  void Ask(Question) override {}
  void Disconnect() override { connected_ = false; }

  bool connected_ = false;
};

class ThirdSource : public RunSource {
 public:
  ThirdSource(RunContext* context, RunTable* table) : context_(context), table_(table) {}

  void Restore(VmSession session) override {
    restored.push_back(session.run().name);
    Add(std::move(session));
  }
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
  std::vector<SourceMetric> Metrics() const override {
    return {{"vmeventd_third_total", "What the third source counts", 3},
            {"vmeventd_third", "What it measures", 5, /*is_gauge=*/true, {{"of", "a"}}},
            {"vmeventd_third", "What it measures", 7, /*is_gauge=*/true, {{"of", "b"}}}};
  }
  std::string Trouble() const override { return trouble; }

  // Finds a VM whose QEMU is `child`.
  ThirdRun* Find(const std::string& name, const Child& child) {
    PeerProcess process = IdentifyByPid(child.pid()).value();
    RunInfo info;
    info.name = info.raw_name = name;
    info.source_key = kThirdKey;
    info.source = "third:";
    info.has_manager = is_manager;
    if (is_manager) info.lost_problem = ProblemCode::kCannotConnect;
    info.pid_namespace = context_->pid_namespace;
    info.SetProcess(DescribeProcess(process, context_->oom_counters));
    info.run_id = context_->NewRunId(info, name, 0);
    ThirdRun* const found =
        Add(VmSession(std::move(info), &context_->options->session, context_->loop->Now()));
    EXPECT_TRUE(found->Track(std::move(process)).ok());
    found->Begin();
    return found;
  }
  ThirdRun* Run(const std::string& name) const {
    return static_cast<ThirdRun*>(table_->Named(name).at(0));
  }

  bool started = false;
  bool scanned = false;
  bool open = false;
  bool waiting = false;
  bool is_manager = false;
  std::string trouble;
  int turns = 0;
  std::vector<std::string> restored;
  std::vector<std::string> over;

 private:
  ThirdRun* Add(VmSession session) {
    auto run = std::make_unique<ThirdRun>(context_, table_, std::move(session));
    ThirdRun* const added = run.get();
    table_->Add(this, std::move(run));
    return added;
  }

  RunContext* const context_;
  RunTable* const table_;
};

class ThirdSourceTest : public testing::Test {
 protected:
  ThirdSourceTest() {
    sources_.push_back({.key = kThirdKey,
                        .health_service = "third",
                        .load_library =
                            [](const SourceSpecs& specs) {
                              return specs.watches.empty()
                                         ? absl::OkStatus()
                                         : absl::NotFoundError("libthird.so is missing");
                            },
                        .make =
                            [this](RunContext* context, RunTable* table, UpdateSink*) {
                              auto made = std::make_unique<ThirdSource>(context, table);
                              source_ = made.get();
                              return made;
                            }});
    Start({});
  }

  void Start(WatcherOptions options, PreviousRuns previous = {}) {
    options.exit_status_source = ExitStatusSource::kNone;  // the clock stands still: no wait
    watcher_ =
        NodeWatcher::Create(std::move(options), std::move(previous), &clock_, &sink_, sources_)
            .value();
    Turn();
  }
  void Turn() { watcher_->RunOnce(absl::ZeroDuration()); }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { Turn(); }, done);
  }
  bool UntilStopped(const std::string& name) {
    return Until([&] { return sink_.Latest(name)->state() == VmState::kStopped; });
  }
  // The runs that the journal and the previous daemon leave to the next one.
  PreviousRuns Previous() const {
    PreviousRuns previous{.daemon_existed = true};
    for (const auto& [run_id, saved] : sink_.SavedRuns()) previous.saved.push_back(saved);
    return previous;
  }
  std::string RunId(const std::string& name) const { return sink_.Latest(name)->ref().run_id(); }
  ShutdownClass ClassOf(const std::string& name) const {
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      const VmUpdate& update = entry.update;
      if (update.event.has_value() && update.event->has_shutdown() &&
          update.status->ref().name() == name) {
        return static_cast<ShutdownClass>(update.event->shutdown().shutdown_class());
      }
    }
    return ShutdownClass::kUnspecified;
  }

  ManualClock clock_;
  RecordingSink sink_;
  SourceTable sources_ = {QmpSource::Kind(), LibvirtSource::Kind()};
  std::unique_ptr<NodeWatcher> watcher_;
  ThirdSource* source_ = nullptr;  // owned by the watcher
};

TEST_F(ThirdSourceTest, ItsRunBeginsAndItsEndIsPublished) {
  Child qemu(Sleep);
  ASSERT_TRUE(source_->started);
  ThirdRun* const run = source_->Find("web1", qemu);
  Turn();
  EXPECT_EQ(sink_.Latest("web1")->ref().source(), "third:");
  run->ShutDown();
  kill(qemu.pid(), SIGKILL);
  ASSERT_TRUE(UntilStopped("web1"));
  EXPECT_THAT(sink_.Types("web1"), ElementsAre(EventType::kStarted, EventType::kStopped));
  EXPECT_EQ(ClassOf("web1"), ShutdownClass::kUser);
  EXPECT_THAT(source_->over, ElementsAre("web1"));
}

TEST_F(ThirdSourceTest, ItsRunsMonitorIsLostAndReturns) {
  Child qemu(Sleep);
  ThirdRun* const run = source_->Find("web1", qemu);
  Turn();
  run->LoseMonitor();
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kMonitorLost) == 1; }));
  EXPECT_EQ(sink_.Latest("web1")->problems(0).code(), v1::PROBLEM_CODE_MONITOR_LOST);
  run->Begin();
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kMonitorRestored) == 1; }));
  EXPECT_THAT(sink_.Latest("web1")->problems(), IsEmpty());
}

// The source sets a problem code of its own for a lost monitor.
TEST_F(ThirdSourceTest, AsAManagerItHasItsKeyAsNameAndItsOwnProblemForALostMonitor) {
  Child qemu(Sleep);
  source_->is_manager = true;
  source_->Find("web1", qemu);
  Turn();
  watcher_.reset();
  Start({}, Previous());
  clock_.Advance(absl::Seconds(20));
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kMonitorLost) == 1; }));
  ASSERT_THAT(sink_.Latest("web1")->problems(), SizeIs(1));
  EXPECT_EQ(sink_.Latest("web1")->problems(0).code(), v1::PROBLEM_CODE_CANNOT_CONNECT);
  EXPECT_EQ(sink_.Latest("web1")->problems(0).text(),
            "vmeventd has not connected to third since it started");

  ThirdRun* const run = source_->Run("web1");
  run->Begin();
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kMonitorRestored) == 1; }));
  EXPECT_THAT(sink_.Latest("web1")->problems(), IsEmpty());
  run->LoseMonitor();
  clock_.Advance(absl::Seconds(20));
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kMonitorLost) == 2; }));
  ASSERT_THAT(sink_.Latest("web1")->problems(), SizeIs(1));
  EXPECT_EQ(sink_.Latest("web1")->problems(0).code(), v1::PROBLEM_CODE_CANNOT_CONNECT);
  EXPECT_EQ(sink_.Latest("web1")->problems(0).text(), "third was lost: EOF");
}

TEST_F(ThirdSourceTest, ItsRunHasTheProblemsThatItReports) {
  Child qemu(Sleep);
  ThirdRun* const run = source_->Find("web1", qemu);
  run->ReportProblem({ProblemCode::kNoGreeting, "the third has no turn"});
  Turn();
  ASSERT_THAT(sink_.Latest("web1")->problems(), SizeIs(1));
  EXPECT_EQ(sink_.Latest("web1")->problems(0).text(), "the third has no turn");
  run->ReportProblem({});
  Turn();
  EXPECT_THAT(sink_.Latest("web1")->problems(), IsEmpty());
}

TEST_F(ThirdSourceTest, ItsRunHasItsLabelsAndTheRulesLabels) {
  WatcherOptions options;
  options.session.label_rules = {{"web*", {{"tier", "front"}}}};
  Start(std::move(options));
  Child qemu(Sleep);
  source_->Find("web1", qemu)->SetLabels({{"third.project", "shop"}});
  Turn();
  EXPECT_THAT(sink_.Latest("web1")->ref().labels(),
              UnorderedElementsAre(Pair("third.project", "shop"), Pair("tier", "front")));
}

TEST_F(ThirdSourceTest, ItsRunTakesAnIntentWhichMakesItsEndTheAdmins) {
  Child qemu(Sleep);
  source_->scanned = true;
  ASSERT_TRUE(Until([this] { return watcher_->first_scan_done(); }));
  ThirdRun* const run = source_->Find("web1", qemu);
  Turn();
  watcher_->DeclareIntent({.vm_name = "web1",
                           .intent_id = "id-1",
                           .actor = "ops",
                           .reason = "upgrade",
                           .ttl = absl::Minutes(10)},
                          [](const absl::StatusOr<v1::Intent>&) {});
  ASSERT_TRUE(Until([this] { return sink_.Count(EventType::kIntentDeclared) == 1; }));
  run->ShutDown();
  kill(qemu.pid(), SIGKILL);
  ASSERT_TRUE(UntilStopped("web1"));
  EXPECT_EQ(ClassOf("web1"), ShutdownClass::kAdmin);
}

// The first source of the table has runs with monitors as well.
TEST_F(ThirdSourceTest, ItsRunsBelongToItAfterARestart) {
  Child lives(Sleep);
  Child ends(Sleep);
  source_->Find("lives", lives);
  source_->Find("ends", ends);
  Turn();
  const std::string run_id = RunId("lives");
  watcher_.reset();
  kill(ends.pid(), SIGKILL);
  ends.Reap();

  Start({}, Previous());
  EXPECT_THAT(source_->restored, UnorderedElementsAre("lives", "ends"));
  ASSERT_TRUE(UntilStopped("ends"));
  EXPECT_EQ(ClassOf("ends"), ShutdownClass::kUnknown);
  EXPECT_THAT(source_->over, ElementsAre("ends"));

  ThirdRun* const run = source_->Run("lives");
  EXPECT_EQ(run->info().run_id, run_id);
  EXPECT_TRUE(run->followed());
  run->Begin();
  run->ShutDown();
  kill(lives.pid(), SIGKILL);
  ASSERT_TRUE(UntilStopped("lives"));
  EXPECT_EQ(ClassOf("lives"), ShutdownClass::kUser);
  EXPECT_THAT(sink_.Types("lives"), ElementsAre(EventType::kStarted, EventType::kStopped));
}

TEST_F(ThirdSourceTest, ItsRunsAreHandedOver) {
  Child lives(Sleep);
  Child ends(Sleep);
  source_->Find("lives", lives);
  source_->Find("ends", ends)->ShutDown();
  Turn();
  watcher_->PublishRest();
  OpenRuns open = watcher_->HandOver().value();
  ASSERT_THAT(open.runs, SizeIs(2));
  watcher_.reset();
  kill(ends.pid(), SIGKILL);
  ends.Reap();

  PreviousRuns previous = Previous();
  previous.is_handover = true;
  previous.handed = std::move(open.runs);
  Start({}, std::move(previous));
  EXPECT_THAT(source_->restored, SizeIs(2));
  EXPECT_EQ(watcher_->counters().handovers, 2u);
  ASSERT_TRUE(UntilStopped("ends"));
  EXPECT_EQ(ClassOf("ends"), ShutdownClass::kUser);

  source_->scanned = true;
  Turn();
  EXPECT_EQ(sink_.Count(EventType::kGap), 0) << "nothing was missed";
  source_->Run("lives")->ShutDown();
  kill(lives.pid(), SIGKILL);
  ASSERT_TRUE(UntilStopped("lives"));
  EXPECT_EQ(ClassOf("lives"), ShutdownClass::kUser);
  EXPECT_THAT(sink_.SavedRuns(), IsEmpty());
}

TEST_F(ThirdSourceTest, ItsFirstScanIsWaitedFor) {
  for (int i = 0; i < 10; ++i) Turn();
  EXPECT_FALSE(watcher_->first_scan_done());
  source_->scanned = true;
  EXPECT_TRUE(Until([this] { return watcher_->first_scan_done(); }));
  EXPECT_GE(source_->turns, 10);
}

TEST_F(ThirdSourceTest, ItsHealthIsReportedLikeTheOtherSources) {
  std::vector<std::string> served;
  for (const ServiceHealth& health : watcher_->Health()) served.emplace_back(health.service);
  EXPECT_THAT(served, ElementsAre("sources", "watch", "libvirt", "third"));
  EXPECT_FALSE(Serves(*watcher_, "third"));
  EXPECT_FALSE(Serves(*watcher_, "sources")) << "nothing else is watched";
  source_->open = true;
  EXPECT_TRUE(Serves(*watcher_, "third"));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  EXPECT_FALSE(watcher_->waits());
  source_->waiting = true;
  EXPECT_TRUE(watcher_->waits());
}

// The server reports this before there is a watcher, and while it hangs.
TEST_F(ThirdSourceTest, ItsHealthServiceExistsBeforeTheWatcher) {
  std::vector<std::string> names;
  for (const ServiceHealth& health : NodeWatcher::NotServing(sources_)) {
    names.emplace_back(health.service);
    EXPECT_FALSE(health.serves) << health.service;
  }
  EXPECT_THAT(names, ElementsAre("sources", "watch", "libvirt", "third"));
}

TEST_F(ThirdSourceTest, TheWatcherHasItsDescriptionAndItsMetrics) {
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets(0).path(), "/third");
  const WatcherCounters counters = watcher_->counters();
  EXPECT_EQ(counters.OfSource("vmeventd_third_total"), 3u);
  EXPECT_EQ(counters.OfSource("vmeventd_third", {{"of", "a"}}), 5u);
  EXPECT_EQ(counters.OfSource("vmeventd_third", {{"of", "b"}}), 7u);
  EXPECT_EQ(counters.OfSource("vmeventd_third", {{"of", "c"}}), 0u);
}

TEST_F(ThirdSourceTest, TheWatcherReportsItsTroubleUntilItIsRepaired) {
  EXPECT_THAT(watcher_->Troubles(), IsEmpty());
  source_->trouble = "the third cannot be reached";
  EXPECT_THAT(watcher_->Troubles(), ElementsAre("the third cannot be reached"));
  source_->trouble.clear();
  EXPECT_THAT(watcher_->Troubles(), IsEmpty());
}

TEST_F(ThirdSourceTest, ItsLibraryIsLoadedWithTheOthers) {
  const SourceSpecs specs;
  EXPECT_TRUE(NodeWatcher::LoadLibraries(specs, sources_).ok());
  EXPECT_EQ(NodeWatcher::LoadLibraries(specs.Resolved(), sources_).message(),
            "libthird.so is missing");
}

// Its flag is in the tests of the configuration.
TEST(ThirdSettingTest, TheTextsAndTheDefaultIncludeItLikeOtherSettings) {
  const SourceSetting* const settings[] = {&kWatchSetting, &kWatchManagerSocketsSetting,
                                           &kLibvirtSetting, &kThirdSetting};
  third_values.clear();
  SourceSpecs specs;
  EXPECT_TRUE(specs.is_default(settings));
  EXPECT_EQ(specs.text(settings), "the third, libvirt and Ganeti if they exist");
  EXPECT_EQ(SourceNames(settings), "watch, libvirt or third");
  const std::string followed =
      "the third's place, libvirt's system socket (qemu:///system) and Ganeti's directory are "
      "followed, each as soon as it exists";
  EXPECT_EQ(DefaultSourcesText(settings),
            "neither watch nor libvirt nor third is set: " + followed);
  EXPECT_EQ(DefaultSourcesHelp(settings), "Without --watch, --libvirt and --third, " + followed);

  EXPECT_EQ(DefaultVms(settings), "the third's VMs, libvirt's domains and Ganeti's VMs");

  const SourceSpecs resolved = specs.Resolved(settings);
  EXPECT_THAT(resolved.watches, SizeIs(1));
  EXPECT_THAT(resolved.libvirts, SizeIs(1));
  EXPECT_THAT(third_values, ElementsAre("/third"));
  EXPECT_FALSE(specs.is_default(settings));
  EXPECT_EQ(specs.text(settings), "third /third");
}

TEST(ThirdSettingTest, TheExamplesAreTakenFromASource) {
  const SourceSetting* const settings[] = {&kWatchManagerSocketsSetting, &kThirdSetting,
                                           &kWatchSetting};
  EXPECT_EQ(&ExampleSetting(settings), &kThirdSetting);
  EXPECT_EQ(ExampleLine(settings), R"(third = ["/a", "/b"])");
}

// At the start a library is loaded only for sources that are named.
TEST(SourceLibrariesTest, NoLibraryIsNeededForAnOptionalSource) {
  SourceSpecs specs;
  EXPECT_FALSE(LibvirtSource::NeedsLibrary(specs));
  EXPECT_FALSE(LibvirtSource::NeedsLibrary(specs.Resolved()));
  specs.libvirts = {LibvirtSpec()};
  EXPECT_TRUE(LibvirtSource::NeedsLibrary(specs));
}

}  // namespace
}  // namespace vmeventd
