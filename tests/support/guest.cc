#include "tests/support/guest.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/uuid.h"
#include "tests/support/boot_sector.h"
#include "tests/support/qemu_command.h"
#include "tests/support/qmp_client.h"

namespace vmeventd::e2e {

Guest::Guest(GuestOptions options)
    : options_(std::move(options)), uuid_(options_.uuid.empty() ? RandomUuid() : options_.uuid) {
  const std::string control_path = options_.directory + "/" + name() + ".control";
  // A QEMU that ran under this name may have left its socket behind.
  std::filesystem::remove(control_path);
  ChildOptions child;
  child.arguments = QemuCommand(options_.boot,
                                absl::StrCat(options_.obeys_power_button ? "" : "ignore_powerdown ",
                                             options_.reboots_after_panic ? "panic=-1" : ""));
  child.arguments.front() = options_.program;
  child.arguments.insert(child.arguments.end(),
                         {"-name", name(), "-uuid", uuid_, "-serial", "stdio", "-qmp",
                          "unix:" + control_path + ",server=on,wait=off"});
  for (const std::string& argument : options_.monitor) {
    child.arguments.push_back(absl::StrReplaceAll(argument, {{"PATH", socket_path()}}));
  }
  child.arguments.insert(child.arguments.end(), options_.arguments.begin(),
                         options_.arguments.end());
  if (options_.boot == Boot::kSector) {
    const std::string disk = options_.directory + "/" + name() + ".disk";
    std::ofstream(disk, std::ios::binary)
        << GuestSector(options_.obeys_power_button, options_.reboots_after_panic);
    child.arguments.insert(child.arguments.end(),
                           {"-drive", "format=raw,snapshot=on,file=" + disk});
  }
  process_ = std::make_unique<ChildProcess>(child);
  manager_ = std::make_unique<QmpClient>(control_path);
  if (options_.boot != Boot::kNothing && options_.wait_until_ready) WaitReady();
}

}  // namespace vmeventd::e2e
