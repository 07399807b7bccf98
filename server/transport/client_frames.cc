#include "server/transport/client_frames.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// Size of DATA below which a frame costs gRPC more than its bytes.
constexpr uint32_t kSmallData = 64;
// A client that reads a long backlog later may grant its windows later.
constexpr double kMaxFreeControl = 100'000;
constexpr size_t kPriorityBytes = 5;
// Values of grpc::StatusCode.
constexpr int kInvalidArgument = 3;
constexpr int kResourceExhausted = 8;  // as gRPC has it for headers

Breach BrokenRule(std::string what) { return {Refusal::kFrames, std::move(what), true}; }

}  // namespace

ClientFrames::ClientFrames(const FrameLimits& limits, PeerFrames* peer)
    : limits_(limits),
      peer_(peer),
      resets_(limits.resets),
      control_(limits.control),
      always_resets_(limits.always),
      always_control_(limits.always) {}

std::optional<Breach> ClientFrames::Read(absl::string_view bytes, absl::Duration now,
                                         std::string* to_server, std::string* to_client) {
  if (preface_bytes_ < kHttp2Preface.size()) {
    const absl::string_view piece = bytes.substr(0, kHttp2Preface.size() - preface_bytes_);
    if (piece != kHttp2Preface.substr(preface_bytes_, piece.size())) {
      return Breach{Refusal::kFrames, "it does not begin with the preface of HTTP/2", false};
    }
    preface_bytes_ += piece.size();
    absl::StrAppend(to_server, piece);
    bytes.remove_prefix(piece.size());
  }
  while (const std::optional<FrameReader::Part> part = reader_.Next(&bytes)) {
    const FrameHeader& header = reader_.header();
    if (part->is_header) {
      if (std::optional<Breach> breach = OnHeader(header, now)) return breach;
      if (drops_) {
        // gRPC does not see these bytes, and so does not grant them again.
        if (header.length > 0) absl::StrAppend(to_client, WindowUpdateFrame(0, header.length));
      }
    } else if (header.type == FrameType::kData && !drops_) {
      const auto request = requests_.find(header.stream);
      if (request != requests_.end() && OnContent(part->bytes, &request->second)) {
        RefuseRequest(header.stream, request->second, to_client);
        requests_.erase(request);
      }
    }
    const bool is_headers =
        header.type == FrameType::kHeaders || header.type == FrameType::kContinuation;
    if (is_headers) {
      if (!part->is_header) headers_.append(part->bytes.data(), part->bytes.size());
    } else if (!drops_) {
      to_server->append(part->bytes.data(), part->bytes.size());
    }
    if (!part->ends_frame) continue;
    if (!std::exchange(acknowledged_, true)) {
      absl::StrAppend(to_server,
                      EncodeFrame({.type = FrameType::kSettings, .flags = FrameHeader::kAck}, ""));
    }
    if (is_headers && (header.flags & FrameHeader::kEndHeaders) != 0) {
      if (std::optional<Breach> breach = PassHeaders(to_server, to_client)) return breach;
    }
    if (std::exchange(resets_after_, false)) {
      absl::StrAppend(to_server, ResetStreamFrame(header.stream, Http2Error::kCancel));
    }
    if (header.EndsStream()) requests_.erase(header.stream);
  }
  return std::nullopt;
}

std::optional<Breach> ClientFrames::OnHeader(const FrameHeader& header, absl::Duration now) {
  drops_ = false;
  if (!started_) {
    if (header.type != FrameType::kSettings || (header.flags & FrameHeader::kAck) != 0) {
      return BrokenRule("its first frame is not SETTINGS");
    }
    started_ = true;
  }
  if (header.length > kMaxFramePayload) {
    return BrokenRule(absl::StrCat("a frame of ", header.length, " bytes; at most ",
                                   kMaxFramePayload, " are allowed"));
  }
  if (in_parts_ != (header.type == FrameType::kContinuation) ||
      (in_parts_ && header.stream != headers_frame_.stream)) {
    return BrokenRule("CONTINUATION must follow the frame that it continues, and nothing else");
  }
  switch (header.type) {
    case FrameType::kContinuation:
      return OnContinuation(header, now);
    case FrameType::kHeaders:
      return OnHeaders(header);
    case FrameType::kData:
      drops_ = WasRefused(header.stream);
      if (header.length >= kSmallData || header.EndsStream()) return std::nullopt;
      return CountControl(now);
    case FrameType::kResetStream:
      drops_ = WasRefused(header.stream);
      return Count(&resets_, &peer_->resets, &always_resets_, Refusal::kResets,
                   "it opens calls and resets them", now);
    default:
      return CountControl(now);
  }
}

std::optional<Breach> ClientFrames::OnHeaders(const FrameHeader& header) {
  headers_frame_ = header;
  if ((header.flags & FrameHeader::kEndHeaders) == 0) {
    if ((header.flags & FrameHeader::kPadded) != 0) {
      return BrokenRule("headers in several frames have padding");
    }
    if (peer_->headers_in_parts >= kMaxHeadersInParts) {
      return BrokenRule(absl::StrCat("headers that are not complete are on ", kMaxHeadersInParts,
                                     " connections of its peer"));
    }
    in_parts_ = true;
    ++peer_->headers_in_parts;
  }
  ++calls_;
  last_stream_ = std::max(last_stream_, header.stream);
  if (header.EndsStream() || WasRefused(header.stream)) return std::nullopt;
  requests_.try_emplace(header.stream);
  if (requests_.size() <= kMaxOpenRequests) return std::nullopt;
  return BrokenRule(absl::StrCat("more than ", kMaxOpenRequests, " calls are open"));
}

std::optional<Breach> ClientFrames::OnContinuation(const FrameHeader& header, absl::Duration now) {
  if (headers_.size() + header.length > kMaxHeaders) {
    return BrokenRule(absl::StrCat("a call's headers have more than ", kMaxHeaders,
                                   " bytes; at most ", kMaxFramePayload, " are allowed"));
  }
  if ((header.flags & FrameHeader::kEndHeaders) != 0) {
    EndParts();
    return std::nullopt;
  }
  return header.length < kSmallData ? CountControl(now) : std::nullopt;
}

std::optional<Breach> ClientFrames::PassHeaders(std::string* to_server, std::string* to_client) {
  const std::string block = std::exchange(headers_, "");
  FrameHeader header = headers_frame_;
  header.flags |= FrameHeader::kEndHeaders;
  if (block.size() <= kMaxFramePayload) {
    absl::StrAppend(to_server, EncodeFrame(header, block));
    return std::nullopt;
  }
  // Headers of other calls may refer to fields of these.
  const bool has_priority = (header.flags & FrameHeader::kPriority) != 0;
  const std::optional<std::string> changes =
      TableChanges(absl::string_view(block).substr(has_priority ? kPriorityBytes : 0));
  if (!changes.has_value() || changes->size() > kMaxFramePayload) {
    return BrokenRule(absl::StrCat("a call's headers have ", block.size(), " bytes; at most ",
                                   kMaxFramePayload, " are allowed"));
  }
  header.flags = FrameHeader::kEndHeaders;
  absl::StrAppend(to_server, EncodeFrame(header, *changes),
                  ResetStreamFrame(header.stream, Http2Error::kCancel));
  requests_.erase(header.stream);
  if (WasRefused(header.stream)) return std::nullopt;
  Refuse(header.stream, kResourceExhausted,
         absl::StrCat("the headers of the call have ", block.size(), " bytes, at most ",
                      kMaxFramePayload, " are allowed"),
         to_client);
  return std::nullopt;
}

std::optional<Breach> ClientFrames::Count(TokenBucket* own, TokenBucket* of_peer, double* always,
                                          Refusal reason, const char* what, absl::Duration now) {
  bool exceeded = own->Charge(1, now) > absl::ZeroDuration();
  if (*always >= 1) {
    *always -= 1;
  } else {
    exceeded = of_peer->Charge(1, now) > absl::ZeroDuration() || exceeded;
  }
  if (!exceeded) return std::nullopt;
  return Breach{reason, what, true};
}

std::optional<Breach> ClientFrames::CountControl(absl::Duration now) {
  if (free_control_ >= 1) {
    free_control_ -= 1;
    return std::nullopt;
  }
  return Count(&control_, &peer_->control, &always_control_, Refusal::kFrames,
               "it sends too many frames that ask for nothing", now);
}

bool ClientFrames::OnContent(absl::string_view bytes, Request* request) const {
  while (!bytes.empty()) {
    if (request->left > 0) {
      const size_t piece = std::min<size_t>(bytes.size(), request->left);
      request->left -= static_cast<uint32_t>(piece);
      bytes.remove_prefix(piece);
      continue;
    }
    request->prefix[request->prefix_bytes++] = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (request->prefix_bytes < request->prefix.size()) continue;
    request->prefix_bytes = 0;
    const auto& prefix = request->prefix;
    request->left = uint32_t{prefix[1]} << 24 | uint32_t{prefix[2]} << 16 |
                    uint32_t{prefix[3]} << 8 | uint32_t{prefix[4]};
    const bool compressed = prefix[0] != 0;
    if (request->left >
        (compressed ? limits_.max_compressed_request_bytes : limits_.max_request_bytes)) {
      return true;
    }
  }
  return false;
}

bool ClientFrames::WasRefused(uint32_t stream) const {
  return std::find(refused_.begin(), refused_.end(), stream) != refused_.end();
}

void ClientFrames::RefuseRequest(uint32_t stream, const Request& request, std::string* to_client) {
  const bool compressed = request.left <= limits_.max_request_bytes;
  Refuse(stream, kInvalidArgument,
         absl::StrCat("the request has ", request.left, compressed ? " compressed" : "",
                      " bytes, at most ",
                      compressed ? limits_.max_compressed_request_bytes : limits_.max_request_bytes,
                      " are allowed", compressed ? ": send it uncompressed" : ""),
         to_client);
  resets_after_ = true;
}

void ClientFrames::Refuse(uint32_t stream, int code, absl::string_view why,
                          std::string* to_client) {
  absl::StrAppend(to_client, TrailersOnlyFrame(stream, code, why),
                  ResetStreamFrame(stream, Http2Error::kNone));
  ++refused_requests_;
  refused_.push_back(stream);
  if (refused_.size() > kMaxRefusedRequests) refused_.pop_front();
}

void ClientFrames::OnAnswer(const FrameHeader& header) {
  if (header.type == FrameType::kData || header.type == FrameType::kHeaders) {
    free_control_ = std::min(kMaxFreeControl, free_control_ + limits_.control_per_answer);
  }
  if (!requests_.empty() && header.EndsStream()) requests_.erase(header.stream);
}

}  // namespace vmeventd
