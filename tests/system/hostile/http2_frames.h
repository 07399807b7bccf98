#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

// Building blocks of attacks on the HTTP/2 server.

namespace vmeventd::e2e {

// The start of an HTTP/2 connection: preface and empty SETTINGS.
inline const std::string kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x4\0\0\0\0\0", 33);

// One frame.
inline std::string Frame(int type, int flags, uint32_t stream, const std::string& payload) {
  const auto byte = [](uint32_t value, int shift) { return static_cast<char>(value >> shift); };
  const auto size = static_cast<uint32_t>(payload.size());
  return std::string{
             byte(size, 16),           byte(size, 8),    byte(size, 0),    static_cast<char>(type),
             static_cast<char>(flags), byte(stream, 24), byte(stream, 16), byte(stream, 8),
             byte(stream, 0)} +
         payload;
}

// The header block of a call, with literal fields that are not indexed.
inline std::string CallHeaders(const std::string& path) {
  std::string out;
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{":method", "POST"},
                                                        {":scheme", "http"},
                                                        {":path", path},
                                                        {":authority", "localhost"},
                                                        {"content-type", "application/grpc"},
                                                        {"te", "trailers"}}) {
    absl::StrAppend(&out, std::string(1, '\0'), std::string(1, static_cast<char>(name.size())),
                    name, std::string(1, static_cast<char>(value.size())), value);
  }
  return out;
}

// The frames of a whole call, whose request is an empty message.
inline std::string Call(const std::string& path, uint32_t stream = 1) {
  return Frame(1, 4, stream, CallHeaders(path)) + Frame(0, 1, stream, std::string(5, '\0'));
}

}  // namespace vmeventd::e2e
