#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Parses the texts of options. A wrong text throws an OptionError (option_error.h).

namespace vmeventd::client {

// Checks that a text is not empty, and is UTF-8, as the protocol requires. Returns it.
const std::string& CheckText(const std::string& text);

// Parse a text as: text that is not empty; a number of events, at least 1; a duration.
void ReadText(const std::string& text, std::string* value);
void ReadText(const std::string& text, uint64_t* value);
void ReadText(const std::string& text, absl::Duration* value);
template <typename T>
void ReadText(const std::string& text, std::optional<T>* value) {
  ReadText(text, &value->emplace());
}

// Parses a whole number from 1 to `max`.
uint64_t ReadNumber(const std::string& text, uint64_t max);

// Returns the index of a text in ValuesOf(value_name).
int ReadChoice(const char* value_name, absl::string_view text);

}  // namespace vmeventd::client
