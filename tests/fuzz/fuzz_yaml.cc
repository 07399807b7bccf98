// JSON as -o yaml shows it, read back by libyaml. Input: JSON.

#include <yaml.h>

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "client/output/formatter.h"
#include "nlohmann/json.hpp"

namespace {

using Json = nlohmann::ordered_json;

void Expect(bool condition) {
  if (!condition) std::abort();
}

// Whether messages of the contract can have such a value: keys are names of fields, whole numbers.
bool IsUsual(const Json& value, int depth) {
  constexpr int kMaxDepth = 20;
  constexpr size_t kMaxKey = 100;
  if (value.is_number_float() || depth > kMaxDepth) return false;
  for (const auto& [key, member] : value.items()) {
    if (value.is_object() && key.size() > kMaxKey) return false;
    if (value.is_structured() && !IsUsual(member, depth + 1)) return false;
  }
  return true;
}

class Reader {
 public:
  explicit Reader(const std::string& text) {
    Expect(yaml_parser_initialize(&parser_) == 1);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  ~Reader() { yaml_parser_delete(&parser_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Json ReadOnlyDocument() {
    Skip(YAML_STREAM_START_EVENT);
    Skip(YAML_DOCUMENT_START_EVENT);
    Json value = Read();
    Skip(YAML_DOCUMENT_END_EVENT);
    Skip(YAML_STREAM_END_EVENT);
    return value;
  }

 private:
  struct Event {
    yaml_event_t raw{};
    ~Event() { yaml_event_delete(&raw); }
  };

  void Next(Event* event) { Expect(yaml_parser_parse(&parser_, &event->raw) == 1); }
  void Skip(yaml_event_type_t type) {
    Event event;
    Next(&event);
    Expect(event.raw.type == type);
  }

  Json Read() {
    Event event;
    Next(&event);
    return ReadFrom(event.raw);
  }

  Json ReadFrom(const yaml_event_t& event) {
    if (event.type == YAML_SCALAR_EVENT) return ReadScalar(event);
    const bool is_sequence = event.type == YAML_SEQUENCE_START_EVENT;
    Expect(is_sequence || event.type == YAML_MAPPING_START_EVENT);
    Json out = is_sequence ? Json::array() : Json::object();
    while (true) {
      Event member;
      Next(&member);
      if (member.raw.type == YAML_SEQUENCE_END_EVENT || member.raw.type == YAML_MAPPING_END_EVENT) {
        return out;
      }
      if (is_sequence) {
        out.push_back(ReadFrom(member.raw));
      } else {
        const Json key = ReadFrom(member.raw);
        Expect(key.is_string());
        out[key.get<std::string>()] = Read();
      }
    }
  }

  static Json ReadScalar(const yaml_event_t& event) {
    const std::string text(reinterpret_cast<const char*>(event.data.scalar.value),
                           event.data.scalar.length);
    if (event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return text;
    // What is no text in JSON is none in YAML.
    return Json::accept(text) ? Json::parse(text) : Json(text);
  }

  yaml_parser_t parser_{};
};

}  // namespace

void Fuzz_yaml(absl::string_view input) {
  const Json value = Json::parse(input, nullptr, false);
  if (value.is_discarded() || !IsUsual(value, 0)) return;
  Expect(Reader(vmeventd::client::YamlOfJson(input)).ReadOnlyDocument() == value);
}
