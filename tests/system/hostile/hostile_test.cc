#include "tests/system/hostile/hostile_test.h"

#include <regex>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/programs.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

// Returns whether `text` contains anything that could control or deceive a terminal: a control
// character other than a line end, one that changes the direction of text or is invisible, or
// invalid UTF-8.
bool ControlsTerminal(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\n') || byte == 0x7f) return true;
    const std::string two = text.substr(i, 2);
    if (two >= "\xc2\x80" && two <= "\xc2\x9f") return true;  // C1
    const std::string three = text.substr(i, 3);
    if (three >= "\xe2\x80\x8b" && three <= "\xe2\x80\x8f") return true;
    if (three >= "\xe2\x80\xa8" && three <= "\xe2\x80\xae") return true;
    if (three >= "\xe2\x81\xa0" && three <= "\xe2\x81\xaf") return true;
  }
  try {
    return nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::type_error&) {
    return true;  // not UTF-8
  }
}

}  // namespace

const std::string HostileTest::kGuestShutdown =
    R"({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}, )"
    "\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n";

void HostileTest::ExpectServes(const std::string& vm_name) {
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = qemu.AddMonitor(watch_dir() + "/" + vm_name + ".kvmd");
  EXPECT_EQ(stream().Wait(vm_name, v1::EVENT_TYPE_STARTED).vm().pid(), qemu.pid());
  qemu.SendAndExit(monitor, kGuestShutdown);
  const v1::Event end = ExpectStopped(kGuestPoweroff, vm_name);
  EXPECT_TRUE(FileAtStop(vm_name));
  EXPECT_TRUE(end.durable());
  // A QEMU that takes more than 5 s to end, as on a busy machine, is GUEST_DOWN meanwhile.
  EXPECT_THAT(TypesOf(stream().EventsOf(vm_name)),
              testing::AnyOf("STARTED STOPPED", "STARTED GUEST_SHUTDOWN STOPPED"));
  qemu.Reap();
  EXPECT_FALSE(daemon().has_exited());
}

std::string HostileTest::Vmevents(const std::vector<std::string>& arguments) {
  const CommandResult result =
      RunCommand({.arguments = VmeventsCommand("unix:" + Options().socket, arguments)});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_FALSE(ControlsTerminal(result.error)) << testing::PrintToString(result.error);
  return result.output;
}

void HostileTest::ExpectHarmlessOutput(const std::vector<std::string>& vm_names) {
  const std::string count = std::to_string(stream().events().size());
  std::vector<std::vector<std::string>> commands = {{"vms", "--all"},
                                                    {"events", "--limit", count},
                                                    {"watch", "--from", "oldest", "--count", count},
                                                    {"info"}};
  for (const std::string& name : vm_names) commands.push_back({"vm", "--", name});
  for (std::vector<std::string>& command : commands) {
    const std::string table = Vmevents(command);
    EXPECT_FALSE(ControlsTerminal(table)) << command[0] << ": " << testing::PrintToString(table);
    command.insert(command.begin(), {"-o", "json"});
    for (const auto line : absl::StrSplit(Vmevents(command), '\n', absl::SkipEmpty())) {
      EXPECT_TRUE(nlohmann::json::parse(line, nullptr, false).is_object()) << std::string(line);
    }
  }
}

void HostileTest::ExpectHarmlessLog(bool json) {
  std::string log = ReadFile(Options().log_file);
  log.resize(log.rfind('\n') + 1);  // the last line may be written now
  EXPECT_FALSE(ControlsTerminal(log));
  static const std::regex kEntry(R"(\d{4}-\d\d-\d\dT[0-9:.]+Z (debug|info|warn|error) )");
  const auto begins_entry = [](const std::string& line) {
    return std::regex_search(line.substr(0, 40), kEntry, std::regex_constants::match_continuous);
  };
  for (const auto line : absl::StrSplit(log, '\n', absl::SkipEmpty())) {
    const std::string entry(line);
    EXPECT_TRUE(json ? nlohmann::json::parse(entry, nullptr, false).is_object()
                     : begins_entry(entry))
        << testing::PrintToString(entry);
  }
}

}  // namespace vmeventd::e2e
