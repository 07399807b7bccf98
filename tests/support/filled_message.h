#pragma once

#include <string>

#include "google/protobuf/message.h"

// Messages in which every field is set, so that a test of a saved format also covers the fields
// that are added after it was written.

namespace vmeventd {

// Sets every field of `message` and of the messages in it. Repeated fields and maps get two
// entries. Numbers and texts differ, enumerations and numbers of the type int32 are 1 or 2, and
// each bool is `flag`. Fails the test for a field of a type that is not supported.
void Fill(bool flag, google::protobuf::Message* message);

// Lists the differences between two messages of the same type; empty: they are equal.
std::string Differences(const google::protobuf::Message& expected,
                        const google::protobuf::Message& found);

}  // namespace vmeventd
