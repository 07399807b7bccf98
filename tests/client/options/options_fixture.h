#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/options/option_context.h"
#include "client/options/options.h"
#include "gtest/gtest.h"

namespace vmeventd::client {

using Variables = std::map<std::string, std::string>;

// A context with these variables of the environment.
inline OptionContext TestContext(const Variables& variables = {}) {
  OptionContext context = {.now = absl::FromUnixSeconds(1782907200), .zone = absl::UTCTimeZone()};
  context.variable = [variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  };
  return context;
}

// A context with a configuration file.
inline OptionContext Configured(const std::string& content, Variables variables = {}) {
  variables["VMEVENTS_CONFIG"] = "/c/config.toml";
  OptionContext context = TestContext(variables);
  context.read_config = [content](const std::string&) { return content; };
  return context;
}

inline CommandLine Parsed(const std::vector<std::string>& arguments,
                          const OptionContext& context = TestContext()) {
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* answered = std::get_if<Answered>(&parsed)) {
    ADD_FAILURE() << answered->err << answered->out;
    return {};
  }
  return std::get<CommandLine>(parsed);
}

template <typename Command>
Command As(const std::vector<std::string>& arguments,
           const OptionContext& context = TestContext()) {
  return std::get<Command>(Parsed(arguments, context).command);
}

inline Answered Answer(const std::vector<std::string>& arguments,
                       const OptionContext& context = TestContext()) {
  auto parsed = ParseCommandLine(arguments, context);
  if (auto* answered = std::get_if<Answered>(&parsed)) return *answered;
  ADD_FAILURE() << "accepted";
  return {};
}

inline std::string Complaint(const std::vector<std::string>& arguments) {
  const Answered answered = Answer(arguments);
  EXPECT_EQ(answered.code, ExitCode::kUsage);
  EXPECT_EQ(answered.out, "");
  return answered.err;
}

}  // namespace vmeventd::client
