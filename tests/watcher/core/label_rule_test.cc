#include "watcher/core/label_rule.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/labels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

LabelRule LabelRuleOf(const std::string& text) {
  const absl::StatusOr<LabelRule> rule = ParseLabelRule(text);
  EXPECT_TRUE(rule.ok()) << rule.status();
  return rule.value_or(LabelRule());
}

TEST(LabelRuleTest, ARuleHasAPatternAndLabels) {
  const LabelRule rule = LabelRuleOf("web*:app=web,note=a=b:c");
  EXPECT_EQ(rule.pattern, "web*");
  EXPECT_EQ(rule.labels, (Labels{{"app", "web"}, {"note", "a=b:c"}}));
  EXPECT_EQ(rule.text(), "web*:app=web,note=a=b:c");
  EXPECT_EQ(LabelRuleOf("a:b:app=").pattern, "a:b");
}

TEST(LabelRuleTest, AMalformedRuleIsRefusedWithTheReason) {
  const std::pair<std::string, const char*> kFaults[] = {
      {"web1", "is not PATTERN:KEY=VALUE"},
      {":app=web", "is not PATTERN:KEY=VALUE"},
      {"web1:app", "\"app\", which is not KEY=VALUE"},
      {"web1:app=web,", "\"\", which is not KEY=VALUE"},
      {"web1:bad key=web", "\"bad key=web\""},
      {absl::StrCat("web1:app=", std::string(kMaxLabelValueBytes + 1, 'x')), "a value"},
      {"web1:app=a\nb", "one line"},
  };
  for (const auto& [text, fault] : kFaults) {
    EXPECT_THAT(std::string(ParseLabelRule(text).status().message()), HasSubstr(fault)) << text;
  }
}

TEST(LabelRuleTest, TheVmsOwnLabelsOutrankRulesAndAnEarlierRuleALaterOne) {
  const std::vector<LabelRule> rules = {LabelRuleOf("web*:app=web,tier=front"),
                                        LabelRuleOf("web1:tier=back,x=1"),
                                        LabelRuleOf("db1:app=db")};
  EXPECT_EQ(WithRules(rules, "web1", {{"app", "own"}}),
            (Labels{{"app", "own"}, {"tier", "front"}, {"x", "1"}}));
  EXPECT_EQ(WithRules(rules, "other", {}), Labels());
}

TEST(LabelRuleTest, LabelsBeyondTheLimitAreDropped) {
  std::vector<LabelRule> rules;
  for (size_t i = 0; i <= kMaxLabels; ++i)
    rules.push_back(LabelRuleOf(absl::StrCat("*:k", i, "=v")));
  EXPECT_THAT(WithRules(rules, "web1", {}), SizeIs(kMaxLabels));
}

}  // namespace
}  // namespace vmeventd
