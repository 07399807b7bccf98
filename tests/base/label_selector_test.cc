#include "base/label_selector.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

bool Matches(absl::string_view text) {
  const std::map<std::string, std::string> labels = {
      {"app", "web"}, {"team/mail", "x,y"}, {"empty", ""}, {"path", "a\\b"}};
  const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
  EXPECT_TRUE(selector.ok()) << text << ": " << selector.status();
  return selector.ok() &&
         selector->Matches([&](absl::string_view key) -> std::optional<absl::string_view> {
           const auto label = labels.find(std::string(key));
           return label == labels.end() ? std::nullopt
                                        : std::optional<absl::string_view>(label->second);
         });
}

TEST(LabelSelectorTest, EveryConditionMustHold) {
  for (const char* text : {"app=web", "app==web", "app", "app!=db", "!canary", "canary!=yes",
                           "app=web,!canary", " app = web , team/mail ", "team/mail=x\\,y",
                           "empty=", "empty", "path=a\\b", "path=a\\\\b", "app!="}) {
    EXPECT_TRUE(Matches(text)) << text;
  }
  for (const char* text : {"app=db", "app!=web", "!app", "canary", "canary=", "app=web,app=db",
                           "app=web,canary", "app=", "app=Web", "team/mail=x"}) {
    EXPECT_FALSE(Matches(text)) << text;
  }
}

TEST(LabelSelectorTest, AnErrorSaysWhatWouldBeRight) {
  for (const std::string& text :
       {std::string(), std::string(","), std::string("app=web,"), std::string("=web"),
        std::string("!"), std::string("!app=web"), std::string("a b=c"), std::string("app in (a)"),
        std::string(kMaxLabelKeyBytes + 1, 'a')}) {
    const absl::Status status = LabelSelector::Parse(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("write conditions as app=web")) << text;
  }
  std::string most = "a";
  for (size_t i = 1; i < LabelSelector::kMaxConditions; ++i) most += ",a";
  EXPECT_TRUE(LabelSelector::Parse(most).ok());
  EXPECT_THAT(std::string(LabelSelector::Parse(most + ",a").status().message()),
              HasSubstr("more than 16 conditions"));
}

}  // namespace
}  // namespace vmeventd
