#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/json.h"
#include "client/output/story_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

absl::StatusOr<std::string> Formatter::FormatWhy(const VmStory& story) {
  if (form_ == Form::kTable) {
    return absl::StrCat(std::exchange(shown_, true) ? "\n" : "", StoryText(story, style_));
  }
  nlohmann::ordered_json ends = nlohmann::ordered_json::object();
  for (const auto& [shutdown_class, count] : story.ends) ends[ShortName(shutdown_class)] = count;
  std::vector<std::string> late;
  for (const v1::Event& event : story.late_intents) {
    auto json = ToJson(event, story.end->node);
    if (!json.ok()) return json;
    late.push_back(*std::move(json));
  }
  return Line(story.name,
              ObjectOf({{"name", JsonText(story.name)},
                        {"vm", story.vm ? ToJson(story.vm->vm, story.vm->node) : ""},
                        {"last_end", story.end ? ToJson(story.end->event, story.end->node) : ""},
                        {"late_intents",
                         late.empty() ? "" : absl::StrCat("[", absl::StrJoin(late, ","), "]")},
                        {"ends_in_24h", JsonText(ends)},
                        {"text", style_.texts ? JsonText(StoryText(story, style_)) : ""}}));
}

}  // namespace vmeventd::client
