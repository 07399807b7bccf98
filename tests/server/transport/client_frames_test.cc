#include "server/transport/client_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

std::string Frame(FrameType type, uint8_t flags, uint32_t stream, const std::string& payload = "") {
  return EncodeFrame({.type = type, .flags = flags, .length = 0, .stream = stream}, payload);
}
std::string Headers(uint32_t stream, uint8_t flags = FrameHeader::kEndHeaders) {
  return Frame(FrameType::kHeaders, flags, stream, "\x82\x84");
}
std::string Data(uint32_t stream, const std::string& payload, uint8_t flags = 0) {
  return Frame(FrameType::kData, flags, stream, payload);
}
// The beginning of a message.
std::string Prefix(uint32_t size, bool compressed = false) {
  std::string out(1, compressed ? '\1' : '\0');
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(size >> shift));
  return out;
}
const std::string kConnectionStart = absl::StrCat(kHttp2Preface, Frame(FrameType::kSettings, 0, 0));
const std::string kAck = Frame(FrameType::kSettings, FrameHeader::kAck, 0);
const std::string kPing = Frame(FrameType::kPing, 0, 0, "12345678");

class ClientFramesTest : public ::testing::Test {
 protected:
  // What is wrong with `bytes`; empty: nothing. What passes is in to_server_ and to_client_.
  std::string Read(const std::string& bytes) { return Read(&frames_, bytes); }
  std::string Read(ClientFrames* frames, const std::string& bytes) {
    const std::optional<Breach> breach = frames->Read(bytes, now_, &to_server_, &to_client_);
    if (!breach.has_value()) return "";
    reason_ = breach->reason;
    return breach->what;
  }
  std::string Repeat(const std::string& frame, int times) {
    for (int i = 0; i < times; ++i) {
      if (std::string what = Read(frame); !what.empty()) return what;
    }
    return "";
  }

  FrameLimits limits_;
  PeerFrames peer_{limits_};
  ClientFrames frames_{limits_, &peer_};
  absl::Duration now_ = absl::Seconds(100);
  std::string to_server_;
  std::string to_client_;
  Refusal reason_ = Refusal::kRole;
};

TEST_F(ClientFramesTest, AnHonestCallPassesHoweverItIsSplit) {
  const std::string call = kConnectionStart + Frame(FrameType::kWindowUpdate, 0, 0, "1234") +
                           Headers(1) + Data(1, Prefix(3) + "abc", FrameHeader::kEndStream) +
                           Frame(FrameType::kSettings, FrameHeader::kAck, 0) + kPing;
  for (size_t piece = 1; piece <= call.size(); ++piece) {
    ClientFrames frames(limits_, &peer_);
    to_server_.clear();
    for (size_t at = 0; at < call.size(); at += piece) {
      EXPECT_EQ(Read(&frames, call.substr(at, piece)), "");
    }
    EXPECT_EQ(to_server_,
              absl::StrCat(kConnectionStart, kAck, call.substr(kConnectionStart.size())));
    EXPECT_EQ(frames.TakeCalls(), 1);
    EXPECT_EQ(frames.TakeCalls(), 0);
  }
  EXPECT_EQ(to_client_, "");
}

TEST_F(ClientFramesTest, TheServerSeesHeadersOnceTheyAreComplete) {
  EXPECT_EQ(Read(kConnectionStart), "");
  to_server_.clear();
  const std::string headers = Headers(1);
  for (size_t i = 0; i + 1 < headers.size(); ++i) EXPECT_EQ(Read(headers.substr(i, 1)), "");
  EXPECT_EQ(to_server_, "");
  EXPECT_EQ(Read(headers.substr(headers.size() - 1)), "");
  EXPECT_EQ(to_server_, headers);
}

// gRPC 1.51 holds a client to its SETTINGS from then on only.
TEST_F(ClientFramesTest, TheServersSettingsAreAcknowledgedBeforeAnyCall) {
  EXPECT_EQ(Read(kConnectionStart), "");
  EXPECT_EQ(to_server_, kConnectionStart + kAck);
  EXPECT_EQ(Read(Headers(1) + kAck), "");
  EXPECT_EQ(to_server_, kConnectionStart + kAck + Headers(1) + kAck)
      << "and by the client, as it likes";
}

TEST_F(ClientFramesTest, NothingButHttp2Passes) {
  EXPECT_THAT(Read("GET / HTTP/1.1\r\n"), HasSubstr("preface"));
  EXPECT_EQ(to_server_, "");
  ClientFrames late(limits_, &peer_);
  EXPECT_EQ(Read(&late, std::string(kHttp2Preface.substr(0, 20))), "");
  EXPECT_THAT(Read(&late, "x"), HasSubstr("preface"));
}

TEST_F(ClientFramesTest, SettingsComeFirst) {
  for (const std::string& first : {kPing, Headers(1), Frame(FrameType::kSettings, 1, 0)}) {
    ClientFrames frames(limits_, &peer_);
    EXPECT_THAT(Read(&frames, std::string(kHttp2Preface) + first), HasSubstr("SETTINGS"));
  }
}

TEST_F(ClientFramesTest, HeadersInSeveralFramesReachTheServerInOne) {
  const std::string call = Frame(FrameType::kHeaders, 0, 1, "abc") +
                           Frame(FrameType::kContinuation, 0, 1, "de") +
                           Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1, "f");
  EXPECT_EQ(Read(kConnectionStart), "");
  to_server_.clear();
  for (const char byte : call) EXPECT_EQ(Read(std::string(1, byte)), "");
  EXPECT_EQ(to_server_, Frame(FrameType::kHeaders, FrameHeader::kEndHeaders, 1, "abcdef"));
  EXPECT_EQ(to_client_, "");
  EXPECT_EQ(frames_.TakeCalls(), 1);
}

TEST_F(ClientFramesTest, ACallWithMoreThan16KiBOfHeadersIsRefusedAlone) {
  // A field that is not for the table, longer than a frame, between two that are.
  const std::string token =
      absl::StrCat(std::string("\0\1t\x7f\xa1\x9b\x01", 7), std::string(20'000, 'x'));
  const std::string first = "\x40\x01n\x01v";
  const std::string second = "\x44\x01/";
  const std::string block = absl::StrCat("\x82", first, token, "\x84", second);
  for (const uint8_t priority : {uint8_t{0}, FrameHeader::kPriority}) {
    ClientFrames frames(limits_, &peer_);
    EXPECT_EQ(Read(&frames, kConnectionStart + Headers(1)), "");
    to_server_.clear();
    to_client_.clear();
    const std::string payload = (priority == 0 ? "" : "12345") + block;
    const auto flags = static_cast<uint8_t>(FrameHeader::kEndStream | priority);
    EXPECT_EQ(
        Read(&frames, Frame(FrameType::kHeaders, flags, 3, payload.substr(0, 16'384)) +
                          Frame(FrameType::kContinuation, 0, 3, payload.substr(16'384, 1'000)) +
                          Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 3,
                                payload.substr(17'384))),
        "");
    // The server needs the table for what follows.
    EXPECT_EQ(to_server_, Frame(FrameType::kHeaders, FrameHeader::kEndHeaders, 3, first + second) +
                              ResetStreamFrame(3, Http2Error::kCancel));
    EXPECT_EQ(to_client_,
              TrailersOnlyFrame(3, 8,
                                absl::StrCat("the headers of the call have ", payload.size(),
                                             " bytes, at most 16384 are allowed")) +
                  ResetStreamFrame(3, Http2Error::kNone));
    EXPECT_EQ(frames.TakeRefusedRequests(), 1);
    to_server_.clear();
    const std::string others = Data(1, "", FrameHeader::kEndStream) + Headers(5);
    EXPECT_EQ(Read(&frames, others), "");
    EXPECT_EQ(to_server_, others);
  }
}

TEST_F(ClientFramesTest, HeadersOfWhichTheTableCannotBeKnownEndTheConnection) {
  EXPECT_EQ(Read(kConnectionStart + Frame(FrameType::kHeaders, 0, 1, std::string(16'384, '\x82'))),
            "");
  // A string that announces more than there is.
  EXPECT_THAT(Read(Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1, "\x40\x05n")),
              HasSubstr("16387 bytes; at most 16384"));
  EXPECT_EQ(reason_, Refusal::kFrames);
}

TEST_F(ClientFramesTest, HeadersThatDoNotEndEndTheConnection) {
  EXPECT_EQ(Read(kConnectionStart + Frame(FrameType::kHeaders, 0, 1, std::string(16'384, 'h'))),
            "");
  const std::string before = to_server_;
  EXPECT_THAT(Repeat(Frame(FrameType::kContinuation, 0, 1, std::string(1'000, 'h')), 50),
              HasSubstr("more than 65536 bytes"));
  EXPECT_EQ(to_server_, before);
  EXPECT_EQ(reason_, Refusal::kFrames);
  ClientFrames small(limits_, &peer_);
  EXPECT_EQ(Read(&small, kConnectionStart + Headers(1, 0)), "");
  std::string what;
  for (int i = 0; i < 10'000 && what.empty(); ++i) {
    what = Read(&small, Frame(FrameType::kContinuation, 0, 1));
  }
  EXPECT_THAT(what, HasSubstr("ask for nothing"));
}

TEST_F(ClientFramesTest, OnlyContinuationContinues) {
  const std::string begin = Headers(1, 0);
  for (const std::string& bytes :
       {begin + kPing, begin + Data(1, "x"), begin + Headers(3),
        begin + Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 3, "x"),
        Headers(1) + Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1, "x"),
        Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1, "x")}) {
    ClientFrames frames(limits_, &peer_);
    EXPECT_THAT(Read(&frames, kConnectionStart + bytes), HasSubstr("CONTINUATION must follow"));
    EXPECT_EQ(reason_, Refusal::kFrames);
  }
}

TEST_F(ClientFramesTest, UnfinishedHeadersOfAPeerAreBounded) {
  std::vector<std::unique_ptr<ClientFrames>> all;
  for (size_t i = 0; i <= ClientFrames::kMaxHeadersInParts; ++i) {
    all.push_back(std::make_unique<ClientFrames>(limits_, &peer_));
    const std::string what = Read(all.back().get(), kConnectionStart + Headers(1, 0));
    EXPECT_EQ(what.empty(), i < ClientFrames::kMaxHeadersInParts) << what;
  }
  EXPECT_EQ(Read(all[0].get(), Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1)), "");
  EXPECT_EQ(peer_.headers_in_parts, ClientFrames::kMaxHeadersInParts - 1);
  all.clear();
  EXPECT_EQ(peer_.headers_in_parts, 0);
}

TEST_F(ClientFramesTest, AFrameHasAtMost16KiB) {
  EXPECT_EQ(Read(kConnectionStart + Data(1, std::string(16'384, 'x'))), "");
  // Its header says it: nothing more has to come.
  EXPECT_THAT(Read(Data(1, std::string(16'385, 'x')).substr(0, 9)),
              HasSubstr("a frame of 16385 bytes; at most 16384"));
}

TEST_F(ClientFramesTest, FramesThatAskForNothingAreCounted) {
  const std::pair<const char*, std::string> cases[] = {
      {"ping", kPing},
      {"settings", Frame(FrameType::kSettings, 0, 0)},
      {"priority", Frame(FrameType::kPriority, 0, 1, "12345")},
      {"window", Frame(FrameType::kWindowUpdate, 0, 0, "1234")},
      {"unknown", Frame(static_cast<FrameType>(66), 0, 0)},
      {"empty data", Data(1, "")},
      {"small data", Data(1, "x")}};
  for (const auto& [name, frame] : cases) {
    SCOPED_TRACE(name);
    PeerFrames peer(limits_);
    ClientFrames frames(limits_, &peer);
    EXPECT_EQ(Read(&frames, kConnectionStart), "");
    std::string what;
    int sent = 0;
    for (; what.empty() && sent < 100'000; ++sent) what = Read(&frames, frame);
    EXPECT_THAT(what, HasSubstr("ask for nothing"));
    EXPECT_EQ(sent, limits_.control.burst);  // SETTINGS was one
  }
}

TEST_F(ClientFramesTest, TheCountIsASecondsCount) {
  EXPECT_EQ(Read(kConnectionStart), "");
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Repeat(kPing, 900), "");
    now_ += absl::Seconds(1);
  }
}

TEST_F(ClientFramesTest, AReaderMaySendMore) {
  EXPECT_EQ(Read(kConnectionStart), "");
  for (int i = 0; i < 100'000; ++i) {
    frames_.OnAnswer({.type = FrameType::kData, .flags = 0, .length = 100, .stream = 1});
    // Some clients grant both windows, and measure the bandwidth, for each frame.
    ASSERT_EQ(Read(Frame(FrameType::kWindowUpdate, 0, 0, "1234") +
                   Frame(FrameType::kWindowUpdate, 0, 1, "1234") + kPing),
              "");
  }
  // The server's own pings and refusals do not pay for a flood.
  for (int i = 0; i < 100'000; ++i) {
    frames_.OnAnswer({.type = FrameType::kPing, .flags = 1, .length = 8, .stream = 0});
    frames_.OnAnswer({.type = FrameType::kResetStream, .flags = 0, .length = 4, .stream = 1});
  }
  EXPECT_THAT(Repeat(kPing, 110'000), HasSubstr("ask for nothing"));
}

TEST_F(ClientFramesTest, AllConnectionsOfAPeerAreCountedTogether) {
  std::vector<std::unique_ptr<ClientFrames>> floods;
  std::string what;
  for (int i = 0; i < 20 && what.empty(); ++i) {
    floods.push_back(std::make_unique<ClientFrames>(limits_, &peer_));
    EXPECT_EQ(Read(floods.back().get(), kConnectionStart), "");
    for (int j = 0; j < 3'900 && what.empty(); ++j) what = Read(floods.back().get(), kPing);
  }
  EXPECT_THAT(what, HasSubstr("ask for nothing"));
  EXPECT_EQ(floods.size(), 6) << "about 20,000 in all";
  EXPECT_EQ(Read(kConnectionStart), "") << "a quiet connection of the same peer goes on";
  EXPECT_EQ(Repeat(kPing, 40), "");
}

TEST_F(ClientFramesTest, ResetsAreCounted) {
  EXPECT_EQ(Read(kConnectionStart), "");
  const std::string reset = Frame(FrameType::kResetStream, 0, 1, "1234");
  EXPECT_EQ(Repeat(Headers(1) + reset, 500), "");
  EXPECT_THAT(Repeat(Headers(1) + reset, 1), HasSubstr("resets them"));
  EXPECT_EQ(reason_, Refusal::kResets);
  EXPECT_EQ(frames_.TakeCalls(), 501);
}

TEST_F(ClientFramesTest, ARequestIsRefusedByItsLength) {
  EXPECT_EQ(Read(kConnectionStart + Headers(1)), "");
  to_server_.clear();
  // Split so that the length comes in two frames.
  const std::string prefix = Prefix((1 << 20) + 1);
  const std::string first = Data(1, prefix.substr(0, 2));
  const std::string second = Data(1, prefix.substr(2) + "abc");
  EXPECT_EQ(Read(first), "");
  EXPECT_EQ(to_client_, "");
  EXPECT_EQ(Read(second), "");
  EXPECT_EQ(to_client_,
            TrailersOnlyFrame(1, 3, "the request has 1048577 bytes, at most 1048576 are allowed") +
                ResetStreamFrame(1, Http2Error::kNone));
  EXPECT_EQ(to_server_, first + second + ResetStreamFrame(1, Http2Error::kCancel));
  EXPECT_EQ(frames_.TakeRefusedRequests(), 1);
  // What is under way does not pass, and its window is given back.
  to_server_.clear();
  to_client_.clear();
  EXPECT_EQ(Read(Data(1, std::string(5'000, 'x'))), "");
  EXPECT_EQ(Read(Data(1, std::string(100, 'x'), FrameHeader::kEndStream)), "");
  EXPECT_EQ(to_client_, WindowUpdateFrame(0, 5'000) + WindowUpdateFrame(0, 100));
  EXPECT_EQ(to_server_, "");
  EXPECT_EQ(Read(Headers(3)), "") << "the next call is another one";
  EXPECT_EQ(to_server_, Headers(3));
}

TEST_F(ClientFramesTest, AllowedRequestsPass) {
  EXPECT_EQ(Read(kConnectionStart + Headers(1) + Data(1, Prefix(1 << 20))), "");
  for (int i = 0; i < 64; ++i) EXPECT_EQ(Read(Data(1, std::string(16'384, 'x'))), "");
  EXPECT_EQ(Read(Data(1, Prefix(0) + Prefix(2) + "ab" + Prefix(1 << 20))), "")
      << "a stream of several";
  EXPECT_EQ(Read(Headers(3) + Data(3, Prefix(4'096, true))), "");
  EXPECT_EQ(to_client_, "");
}

TEST_F(ClientFramesTest, ACompressedRequestIsSmall) {
  EXPECT_EQ(Read(kConnectionStart + Headers(1) + Data(1, Prefix(4'097, true) + "x")), "");
  EXPECT_THAT(to_client_, HasSubstr("4097 compressed bytes"));
  to_client_.clear();
  EXPECT_EQ(Read(Headers(3) + Data(3, Prefix(1) + "x" + Prefix(5'000, true))), "");
  EXPECT_THAT(to_client_, HasSubstr("5000 compressed bytes")) << "the second message";
}

TEST_F(ClientFramesTest, RefusedRequestsAreNoBreach) {
  EXPECT_EQ(Read(kConnectionStart), "");
  for (uint32_t stream = 1; stream < 1'001; stream += 2) {
    ASSERT_EQ(Read(Headers(stream) + Data(stream, Prefix(2 << 20))), "");
  }
  EXPECT_EQ(frames_.TakeRefusedRequests(), 500);
}

TEST_F(ClientFramesTest, OpenRequestsAreBounded) {
  EXPECT_EQ(Read(kConnectionStart), "");
  std::string what;
  uint32_t stream = 1;
  for (; what.empty() && stream < 100'000; stream += 2) what = Read(Headers(stream));
  EXPECT_THAT(what, HasSubstr("4096 calls are open"));
  // Those that have ended on either side do not count.
  ClientFrames frames(limits_, &peer_);
  EXPECT_EQ(Read(&frames, kConnectionStart), "");
  for (stream = 1; stream < 20'000; stream += 4) {
    ASSERT_EQ(Read(&frames, Headers(stream) + Data(stream, Prefix(0), FrameHeader::kEndStream)),
              "");
    ASSERT_EQ(Read(&frames, Headers(stream + 2)), "");
    frames.OnAnswer({.type = FrameType::kHeaders,
                     .flags = FrameHeader::kEndStream,
                     .length = 10,
                     .stream = stream + 2});
  }
}

}  // namespace
}  // namespace vmeventd
