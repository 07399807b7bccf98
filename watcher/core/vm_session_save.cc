// How a run is kept across restarts of the daemon: one JSON object, docs/journal.md.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "watcher/core/vm_session.h"

namespace vmeventd {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;

// Writes JSON with the few forms that a saved run has. The watcher saves a run with each step that
// changes it: this takes a fifth of the time of building a document first. Keys are plain words,
// text is UTF-8.
class JsonWriter {
 public:
  void Begin(absl::string_view key = "") {
    if (key.empty()) {
      Comma();
    } else {
      Key(key);
    }
    text_ += '{';
    first_ = true;
  }
  void End() {
    text_ += '}';
    first_ = false;
  }
  void BeginList(absl::string_view key) {
    Key(key);
    text_ += '[';
    first_ = true;
  }
  void EndList() {
    text_ += ']';
    first_ = false;
  }
  template <typename Number>
  void Item(Number number) {
    Comma();
    absl::StrAppend(&text_, number);
  }
  void Item(const EvidenceEntry& entry) {
    Comma();
    absl::StrAppend(&text_, "[", absl::ToUnixNanos(entry.time), ",");
    Quote(entry.what);
    text_ += ']';
  }
  template <typename Number>
  void Put(absl::string_view key, Number number) {
    Key(key);
    absl::StrAppend(&text_, number);
  }
  void Put(absl::string_view key, absl::Time time) { Put(key, absl::ToUnixNanos(time)); }
  void Put(absl::string_view key, absl::Duration duration) {
    Put(key, absl::ToInt64Nanoseconds(duration));
  }
  void Put(absl::string_view key, Instant instant) {
    Key(key);
    absl::StrAppend(&text_, "[", absl::ToUnixNanos(instant.wall), ",",
                    absl::ToInt64Nanoseconds(instant.monotonic), "]");
  }
  void Put(absl::string_view key, const std::string& text) {
    Key(key);
    Quote(text);
  }
  // Members that are false or empty are left out.
  void PutIf(absl::string_view key, bool flag) {
    if (!flag) return;
    Key(key);
    text_ += "true";
  }
  void PutIf(absl::string_view key, const std::string& text) {
    if (!text.empty()) Put(key, text);
  }
  template <typename T>
  void PutIf(absl::string_view key, const std::optional<T>& value) {
    if (value.has_value()) Put(key, *value);
  }

  std::string Take() { return std::move(text_); }

 private:
  void Comma() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  void Key(absl::string_view key) {
    Comma();
    absl::StrAppend(&text_, "\"", key, "\":");
  }
  void Quote(absl::string_view text) {
    text_ += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        text_ += '\\';
        text_ += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        absl::StrAppendFormat(&text_, "\\u%04x", static_cast<unsigned char>(c));
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }

  std::string text_;
  bool first_ = true;
};

void Write(const RunInfo& run, JsonWriter* json) {
  json->Begin("run");
  json->Put("name", run.name);
  json->Put("run_id", run.run_id);
  json->Put("monitor_path", run.monitor_path);
  // Raw bytes that are UTF-8 were not changed by escaping.
  if (run.raw_path != run.monitor_path) json->Put("raw_path", absl::Base64Escape(run.raw_path));
  if (run.raw_name != run.name) json->Put("raw_name", absl::Base64Escape(run.raw_name));
  // A process without a number here is found again by its socket alone.
  json->PutIf("process_tracked", run.process_tracked && run.pid > 0);
  json->Put("pid", run.pid);
  json->Put("start_ticks", run.start_ticks);
  if (run.pidfd_inode != 0) json->Put("pidfd_inode", run.pidfd_inode);
  json->Put("pid_namespace", run.pid_namespace);
  json->Put("boot_id", run.boot_id);
  if (run.process_start != absl::InfinitePast()) json->Put("process_start", run.process_start);
  json->BeginList("socket");
  json->Item(run.socket.device);
  json->Item(run.socket.inode);
  json->Item(run.socket.made_ns);
  json->EndList();
  if (!run.oom_file.empty()) {
    json->Put("oom_file", run.oom_file);
    json->Put("oom_kills", run.oom_kills);
  }
  if (run.shutdown_file_mark != 0) json->Put("shutdown_file_mark", run.shutdown_file_mark);
  json->End();
}

void Write(const Evidence& evidence, JsonWriter* json) {
  json->Begin("evidence");
  if (evidence.shutdown.has_value()) {
    const ShutdownFact& fact = *evidence.shutdown;
    json->Begin("shutdown");
    json->Put("reason", static_cast<int>(fact.reason));
    if (fact.guest.has_value()) json->Put("guest", *fact.guest ? 1 : 0);
    json->PutIf("powerdown_age", fact.powerdown_age);
    json->PutIf("while_paused", fact.while_paused);
    if (fact.caveat.has_value()) json->Put("caveat", static_cast<int>(*fact.caveat));
    json->End();
  }
  json->PutIf("panicked", evidence.guest_panicked);
  json->PutIf("watchdog", evidence.watchdog_expired);
  if (evidence.watchdog_expired) json->Put("watchdog_paused", evidence.watchdog_paused ? 1 : 0);
  json->PutIf("hibernating", evidence.hibernating);
  json->PutIf("migrated", evidence.migrated);
  json->PutIf("down_before_attach", evidence.down_before_attach);
  json->PutIf("shutdown_file_found", evidence.shutdown_file_found);
  json->PutIf("intended", evidence.intended);
  json->End();
}

void WriteIntent(absl::string_view key, const Intent& intent, absl::Time declared,
                 absl::Duration deadline, JsonWriter* json) {
  json->Begin(key);
  json->Put("intent_id", intent.intent_id);
  json->Put("actor", intent.actor);
  json->Put("reason", intent.reason);
  json->Put("expire_time", intent.expire_time);
  json->PutIf("request_id", intent.request_id);
  json->Put("declared", declared);
  json->Put("deadline", deadline);
  json->End();
}

// Throws if it is no whole number: another one may be beyond all whole ones.
template <typename Number>
Number NumberFrom(const Json& json) {
  if (!json.is_number_integer()) {
    throw Json::other_error::create(501, "not a whole number", nullptr);
  }
  return json.get<Number>();
}

absl::Time TimeFrom(const Json& json) { return absl::FromUnixNanos(NumberFrom<int64_t>(json)); }

Instant InstantFrom(const Json& json) {
  return {TimeFrom(json.at(0)), absl::Nanoseconds(NumberFrom<int64_t>(json.at(1)))};
}

// The member `key`; T() if there is none.
template <typename T>
T ValueOf(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it == json.end() ? T() : it->template get<T>();
}

// An enum's number; throws if it is not one of `first` to `last`.
template <typename Enum>
Enum EnumFrom(const Json& json, Enum first, Enum last) {
  const auto number = NumberFrom<int64_t>(json);
  if (number < static_cast<int64_t>(first) || number > static_cast<int64_t>(last)) {
    throw Json::other_error::create(501, absl::StrCat("no such number: ", number), nullptr);
  }
  return static_cast<Enum>(number);
}

// The raw bytes of `escaped`: another text only where they are not UTF-8.
std::string RawBytes(const Json& json, const char* key, const std::string& escaped) {
  const auto it = json.find(key);
  if (it == json.end()) return escaped;
  std::string raw;
  if (!absl::Base64Unescape(it->get_ref<const std::string&>(), &raw)) {
    throw Json::other_error::create(501, absl::StrCat(key, " is not base64"), nullptr);
  }
  return raw;
}

RunInfo RunInfoFrom(const Json& json) {
  RunInfo run;
  run.name = json.at("name").get<std::string>();
  run.run_id = json.at("run_id").get<std::string>();
  run.monitor_path = json.at("monitor_path").get<std::string>();
  run.raw_path = RawBytes(json, "raw_path", run.monitor_path);
  run.raw_name = RawBytes(json, "raw_name", run.name);
  run.process_tracked = ValueOf<bool>(json, "process_tracked");
  run.pid = NumberFrom<int64_t>(json.at("pid"));
  run.start_ticks = NumberFrom<uint64_t>(json.at("start_ticks"));
  if (json.contains("pidfd_inode")) {
    run.pidfd_inode = NumberFrom<uint64_t>(json.at("pidfd_inode"));
  }
  run.pid_namespace = NumberFrom<uint64_t>(json.at("pid_namespace"));
  run.boot_id = json.at("boot_id").get<std::string>();
  if (json.contains("process_start")) run.process_start = TimeFrom(json.at("process_start"));
  const Json& socket = json.at("socket");
  run.socket = {NumberFrom<uint64_t>(socket.at(0)), NumberFrom<uint64_t>(socket.at(1)),
                NumberFrom<int64_t>(socket.at(2))};
  run.oom_file = ValueOf<std::string>(json, "oom_file");
  if (!run.oom_file.empty()) run.oom_kills = NumberFrom<uint64_t>(json.at("oom_kills"));
  if (json.contains("shutdown_file_mark")) {
    run.shutdown_file_mark = NumberFrom<uint32_t>(json.at("shutdown_file_mark"));
  }
  return run;
}

// What of a run would lead the watcher to somewhere else than to that run; "" if nothing.
absl::string_view WrongWith(const RunInfo& run) {
  if (run.run_id.empty()) return "it has no run_id";
  if (run.raw_path.empty() || run.raw_path.front() != '/') return "its monitor_path is no path";
  if (run.raw_path.find('\0') != std::string::npos) return "its monitor_path is no path";
  constexpr char kNotInNames[] = {'/', '\0'};
  if (run.raw_name.empty() ||
      run.raw_name.find_first_of(kNotInNames, 0, sizeof(kNotInNames)) != std::string::npos) {
    return "its name is no file name";
  }
  if (run.process_tracked && run.pid <= 0) return "it has no pid";
  return "";
}

Intent IntentFrom(const Json& json) {
  return {json.at("intent_id").get<std::string>(), json.at("actor").get<std::string>(),
          json.at("reason").get<std::string>(), TimeFrom(json.at("expire_time")),
          ValueOf<std::string>(json, "request_id")};
}

ShutdownFact ShutdownFactFrom(const Json& json) {
  ShutdownFact fact;
  fact.reason = EnumFrom(json.at("reason"), ShutdownReason::kMissing, ShutdownReason::kOther);
  if (json.contains("guest")) fact.guest = NumberFrom<int>(json.at("guest")) != 0;
  if (json.contains("powerdown_age")) {
    fact.powerdown_age = absl::Nanoseconds(NumberFrom<int64_t>(json.at("powerdown_age")));
  }
  fact.while_paused = ValueOf<bool>(json, "while_paused");
  if (json.contains("caveat")) {
    fact.caveat = EnumFrom(json.at("caveat"), ShutdownCaveat::kGuestAgentConnected,
                           ShutdownCaveat::kGuestAgentPossible);
  }
  return fact;
}

Evidence EvidenceFrom(const Json& json) {
  Evidence evidence;
  if (json.contains("shutdown")) evidence.shutdown = ShutdownFactFrom(json.at("shutdown"));
  evidence.guest_panicked = ValueOf<bool>(json, "panicked");
  evidence.watchdog_expired = ValueOf<bool>(json, "watchdog");
  if (json.contains("watchdog_paused")) {
    evidence.watchdog_paused = NumberFrom<int>(json.at("watchdog_paused")) != 0;
  }
  evidence.hibernating = ValueOf<bool>(json, "hibernating");
  evidence.migrated = ValueOf<bool>(json, "migrated");
  evidence.down_before_attach = ValueOf<bool>(json, "down_before_attach");
  evidence.shutdown_file_found = ValueOf<bool>(json, "shutdown_file_found");
  evidence.intended = ValueOf<bool>(json, "intended");
  return evidence;
}

}  // namespace

std::string VmSession::Save() const {
  if (!started_ || state_ == VmState::kStopped) return "";
  JsonWriter json;
  json.Begin();
  json.Put("format", kFormat);
  Write(run_, &json);
  json.Put("attached_at", attached_at_);
  json.Put("state", static_cast<int>(state_));
  json.Put("state_time", state_time_);
  if (told_state_ != state_) {
    json.Put("told_state", static_cast<int>(told_state_));
    json.Put("told_state_time", told_state_time_);
  }
  if (!Problems().empty()) {
    json.Begin("problems");
    json.PutIf("monitor", monitor_problem_);
    json.PutIf("run", run_problem_);
    json.PutIf("file", file_problem_);
    json.PutIf("exit", exit_problem_);
    json.PutIf("uuid", uuid_problem_);
    json.End();
  }
  if (monitor_ == Monitor::kLost) {
    json.Put("state_before_loss", static_cast<int>(state_before_loss_));
  }
  json.PutIf("uuid", uuid_);
  json.PutIf("qemu_version", qemu_version_);
  json.PutIf("paused", paused_);
  json.PutIf("powerdown_at", powerdown_at_);
  json.PutIf("exiting_since", exiting_since_);
  json.PutIf("shutdown_json", shutdown_json_);
  json.PutIf("shutdown_qemu_time", shutdown_qemu_time_);
  Write(evidence_, &json);
  if (intent_.has_value()) {
    WriteIntent("intent", intent_->intent, intent_->declared, intent_->deadline, &json);
  }
  if (counted_intent_.has_value()) {
    WriteIntent("counted_intent", counted_intent_->intent, counted_intent_->declared,
                counted_intent_->deadline, &json);
  }
  if (agent_.info.present || agent_.opened.has_value()) {
    json.Begin("guest_agent");
    json.PutIf("present", agent_.info.present);
    json.PutIf("open", agent_.info.open);
    json.PutIf("reported", agent_.info.reported);
    json.PutIf("port", agent_.info.port);
    json.PutIf("opened", agent_.opened);
    json.PutIf("closed", agent_.closed);
    json.End();
  }
  json.BeginList("timeline");
  for (const EvidenceEntry& entry : timeline_) json.Item(entry);
  json.EndList();
  json.End();
  return json.Take();
}

absl::StatusOr<std::unique_ptr<VmSession>> VmSession::Restore(absl::string_view saved,
                                                              const SessionOptions* options,
                                                              Instant now) try {
  const Json json = Json::parse(saved.begin(), saved.end());
  if (NumberFrom<int>(json.at("format")) != kFormat) {
    return absl::InvalidArgumentError("a saved run of another format");
  }
  RunInfo run = RunInfoFrom(json.at("run"));
  if (const absl::string_view wrong = WrongWith(run); !wrong.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", wrong));
  }
  auto session = std::make_unique<VmSession>(std::move(run), options, now);
  session->attached_at_ = InstantFrom(json.at("attached_at"));
  session->state_ = EnumFrom(json.at("state"), VmState::kRunning, VmState::kUnreachable);
  session->state_time_ = TimeFrom(json.at("state_time"));
  session->told_state_ = session->state_;
  session->told_state_time_ = session->state_time_;
  if (json.contains("told_state")) {
    session->told_state_ =
        EnumFrom(json.at("told_state"), VmState::kRunning, VmState::kUnreachable);
    session->told_state_time_ = TimeFrom(json.at("told_state_time"));
  }
  if (const auto problems = json.find("problems"); problems != json.end()) {
    session->monitor_problem_ = ValueOf<std::string>(*problems, "monitor");
    session->run_problem_ = ValueOf<std::string>(*problems, "run");
    session->file_problem_ = ValueOf<std::string>(*problems, "file");
    session->uuid_problem_ = ValueOf<std::string>(*problems, "uuid");
  }
  session->monitor_ = Monitor::kUnseen;
  if (const auto before = json.find("state_before_loss"); before != json.end()) {
    session->monitor_ = Monitor::kLost;
    session->state_before_loss_ = EnumFrom(*before, VmState::kRunning, VmState::kUnreachable);
  }
  session->uuid_ = ValueOf<std::string>(json, "uuid");
  session->qemu_version_ = ValueOf<std::string>(json, "qemu_version");
  session->paused_ = ValueOf<bool>(json, "paused");
  if (json.contains("powerdown_at")) session->powerdown_at_ = InstantFrom(json.at("powerdown_at"));
  if (const auto since = json.find("exiting_since"); since != json.end()) {
    session->BeginExit(InstantFrom(*since));
  }
  if (const auto problems = json.find("problems"); problems != json.end()) {
    session->exit_problem_ = ValueOf<std::string>(*problems, "exit");
  }
  session->told_problems_ = session->Problems();
  session->shutdown_json_ = ValueOf<std::string>(json, "shutdown_json");
  if (json.contains("shutdown_qemu_time")) {
    session->shutdown_qemu_time_ = TimeFrom(json.at("shutdown_qemu_time"));
  }
  session->evidence_ = EvidenceFrom(json.at("evidence"));
  // An earlier version did not keep what the watchdog did; one that paused the VM left it so.
  if (!json.at("evidence").contains("watchdog_paused") && session->evidence_.watchdog_expired) {
    session->evidence_.watchdog_paused = session->state_ == VmState::kPaused;
  }
  if (const auto agent = json.find("guest_agent"); agent != json.end()) {
    session->agent_.info.present = ValueOf<bool>(*agent, "present");
    session->agent_.info.open = ValueOf<bool>(*agent, "open");
    session->agent_.info.reported = ValueOf<bool>(*agent, "reported");
    session->agent_.info.port = ValueOf<std::string>(*agent, "port");
    if (agent->contains("opened")) session->agent_.opened = InstantFrom(agent->at("opened"));
    if (agent->contains("closed")) session->agent_.closed = InstantFrom(agent->at("closed"));
  }
  const auto read_intent = [&json](const char* key, std::optional<DeclaredIntent>* intent) {
    const auto it = json.find(key);
    if (it == json.end()) return;
    *intent = DeclaredIntent{IntentFrom(*it), TimeFrom(it->at("declared")),
                             absl::Nanoseconds(NumberFrom<int64_t>(it->at("deadline")))};
  };
  read_intent("intent", &session->intent_);
  read_intent("counted_intent", &session->counted_intent_);
  for (const Json& entry : json.at("timeline")) {
    if (session->timeline_.size() == kMaxTimelineEntries) break;
    session->timeline_.push_back({TimeFrom(entry.at(0)), entry.at(1).get<std::string>()});
  }
  session->started_ = true;
  session->away_ = true;
  session->kept_ = std::hash<std::string>()(std::string(saved));
  return session;
} catch (const Json::exception& error) {
  return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", error.what()));
}

}  // namespace vmeventd
