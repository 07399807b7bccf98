#include "watcher/session/guest_agent_probe.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr char kNamedDevices[] = "/machine/peripheral";
constexpr char kUnnamedDevices[] = "/machine/peripheral-anon";
constexpr size_t kMaxPortTextBytes = 256;

std::string Command(const char* name, const QmpObject& arguments = nullptr) {
  QmpObject command = {{"execute", name}};
  if (!arguments.is_null()) command["arguments"] = arguments;
  return command.dump(-1, ' ', false, QmpObject::error_handler_t::replace) + "\n";
}

// Returns the text; empty if it is too long to be plausible.
std::string Bounded(std::string text) {
  if (text.size() > kMaxPortTextBytes) text.clear();
  return text;
}

// The text in `value`; empty if it is not a text, or too long to be plausible.
std::string Text(const QmpObject& value) {
  return value.is_string() ? Bounded(value.get<std::string>()) : "";
}

std::string TextMember(const QmpObject& object, const char* name) {
  return Bounded(QmpText(object, name));
}

}  // namespace

std::string GuestAgentProbe::NextCommand() const {
  switch (step_) {
    case Step::kNamed:
      return Command("qom-list", {{"path", kNamedDevices}});
    case Step::kUnnamed:
      return Command("qom-list", {{"path", kUnnamedDevices}});
    case Step::kPortName:
      return Command("qom-get", {{"path", ports_[port_].path}, {"property", "name"}});
    case Step::kPortChardev:
      return Command("qom-get", {{"path", ports_[port_].path}, {"property", "chardev"}});
    case Step::kChardevs:
      return Command("query-chardev");
    case Step::kDone:
      break;
  }
  return "";
}

void GuestAgentProbe::AddPorts(const QmpObject& children, bool named) {
  if (!children.is_array()) return;
  for (const QmpObject& child : children) {
    if (TextMember(child, "type") != "child<virtserialport>") continue;
    const std::string name = TextMember(child, "name");
    if (name.empty() || ports_.size() == kMaxPorts) continue;
    ports_.push_back(
        {absl::StrCat(named ? kNamedDevices : kUnnamedDevices, "/", name), named ? name : ""});
  }
}

void GuestAgentProbe::NextPort() {
  ++port_;
  step_ = port_ < ports_.size() ? Step::kPortName : Step::kDone;
}

void GuestAgentProbe::OnReply(const QmpObject& answer) {
  switch (step_) {
    case Step::kNamed:
      AddPorts(answer, true);
      step_ = Step::kUnnamed;
      return;
    case Step::kUnnamed:
      AddPorts(answer, false);
      step_ = ports_.empty() ? Step::kDone : Step::kPortName;
      return;
    case Step::kPortName: {
      const Port& port = ports_[port_];
      // QEMU refuses a second port of one name.
      if (!info_.present && Text(answer) == kGuestAgentPort) {
        info_.present = true;
        info_.reported = !port.id.empty();
        info_.port = port.id;
        step_ = Step::kPortChardev;
        return;
      }
      if (!port.id.empty()) info_.other_ports.push_back(port.id);
      return NextPort();
    }
    case Step::kPortChardev:
      chardev_ = Text(answer);
      step_ = Step::kChardevs;
      return;
    case Step::kChardevs:
      if (answer.is_array()) {
        for (const QmpObject& chardev : answer) {
          if (!chardev_.empty() && TextMember(chardev, "label") == chardev_) {
            info_.open = QmpBool(chardev, "frontend-open") == true;
          }
        }
      }
      return NextPort();
    case Step::kDone:
      return;
  }
}

}  // namespace vmeventd
