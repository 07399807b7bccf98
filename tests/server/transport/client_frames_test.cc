#include "server/transport/client_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/transport/http2_frame.h"

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
const std::string kConnectionStart = absl::StrCat(kHttp2Preface, Frame(FrameType::kSettings, 0, 0));
const std::string kAck = Frame(FrameType::kSettings, FrameHeader::kAck, 0);
const std::string kPing = Frame(FrameType::kPing, 0, 0, "12345678");

class ClientFramesTest : public ::testing::Test {
 protected:
  // The broken rule; empty: none. What passes is in to_server_.
  std::string Read(const std::string& bytes) { return Read(&frames_, bytes); }
  std::string Read(ClientFrames* frames, const std::string& bytes) {
    return frames->Read(bytes, &to_server_).value_or("");
  }

  ClientFrames frames_;
  std::string to_server_;
};

TEST_F(ClientFramesTest, AnHonestCallPassesHoweverItIsSplit) {
  const std::string call = kConnectionStart + Frame(FrameType::kWindowUpdate, 0, 0, "1234") +
                           Headers(1) + Data(1, "\1\1\1\1\1xyz", FrameHeader::kEndStream) +
                           Frame(FrameType::kSettings, FrameHeader::kAck, 0) + kPing;
  for (size_t piece = 1; piece <= call.size(); ++piece) {
    ClientFrames frames;
    to_server_.clear();
    for (size_t at = 0; at < call.size(); at += piece) {
      EXPECT_EQ(Read(&frames, call.substr(at, piece)), "");
    }
    EXPECT_EQ(to_server_,
              absl::StrCat(kConnectionStart, kAck, call.substr(kConnectionStart.size())));
    EXPECT_EQ(frames.TakeCounts().calls, 1);
    EXPECT_EQ(frames.TakeCounts().calls, 0);
  }
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

TEST_F(ClientFramesTest, ProtocolsOtherThanHttp2AreRefused) {
  EXPECT_THAT(Read("GET / HTTP/1.1\r\n"), HasSubstr("preface"));
  EXPECT_EQ(to_server_, "");
  ClientFrames late;
  EXPECT_EQ(Read(&late, std::string(kHttp2Preface.substr(0, 20))), "");
  EXPECT_THAT(Read(&late, "x"), HasSubstr("preface"));
}

TEST_F(ClientFramesTest, SettingsComeFirst) {
  for (const std::string& first : {kPing, Headers(1), Frame(FrameType::kSettings, 1, 0)}) {
    ClientFrames frames;
    EXPECT_THAT(Read(&frames, std::string(kHttp2Preface) + first), HasSubstr("SETTINGS"));
  }
}

TEST_F(ClientFramesTest, AFrameHasAtMost16KiB) {
  EXPECT_EQ(Read(kConnectionStart + Data(1, std::string(16'384, 'x'))), "");
  // The header is enough: no more bytes have to arrive.
  EXPECT_THAT(Read(Data(1, std::string(16'385, 'x')).substr(0, 9)),
              HasSubstr("a frame of 16385 bytes; at most 16384"));
}

// gRPC 1.51 bounds the headers of a frame, not those of a call.
TEST_F(ClientFramesTest, HeadersInSeveralFramesAreRefused) {
  EXPECT_EQ(Read(kConnectionStart), "");
  EXPECT_THAT(Read(Headers(1, 0)), HasSubstr("in several frames"));
  EXPECT_EQ(to_server_, kConnectionStart + kAck);
  ClientFrames large;
  EXPECT_EQ(
      Read(&large, kConnectionStart + Frame(FrameType::kHeaders, 4, 1, std::string(8192, 'x'))),
      "");
  EXPECT_THAT(Read(&large, Frame(FrameType::kHeaders, 4, 3, std::string(8193, 'x'))),
              HasSubstr("more than 8192 bytes"));
  for (const std::string& before : {std::string(), Headers(1)}) {
    ClientFrames frames;
    EXPECT_EQ(Read(&frames, kConnectionStart + before), "");
    EXPECT_THAT(Read(&frames, Frame(FrameType::kContinuation, FrameHeader::kEndHeaders, 1, "x")),
                HasSubstr("CONTINUATION without HEADERS before it"));
  }
}

TEST_F(ClientFramesTest, FramesThatCostMoreThanTheirBytesAreCounted) {
  EXPECT_EQ(Read(kConnectionStart), "");
  EXPECT_EQ(frames_.TakeCounts().control, 1) << "SETTINGS";
  for (const std::string& frame :
       {kPing, Frame(FrameType::kSettings, 0, 0), Frame(FrameType::kPriority, 0, 1, "12345"),
        Frame(FrameType::kWindowUpdate, 0, 0, "1234"), Frame(static_cast<FrameType>(66), 0, 0),
        Data(1, ""), Data(1, "x")}) {
    EXPECT_EQ(Read(frame), "");
    EXPECT_EQ(frames_.TakeCounts().control, 1) << frame;
  }
  EXPECT_EQ(Read(Headers(1) + Data(1, std::string(64, 'x')) + Data(1, "", FrameHeader::kEndStream)),
            "");
  EXPECT_EQ(frames_.TakeCounts().control, 0);
  EXPECT_EQ(Read(Headers(3) + Frame(FrameType::kResetStream, 0, 3, "1234")), "");
  const ClientFrames::Counts counts = frames_.TakeCounts();
  EXPECT_EQ(counts.calls, 1);
  EXPECT_EQ(counts.resets, 1);
}

TEST_F(ClientFramesTest, AClientThatReceivesMessagesMaySendMoreControlFrames) {
  EXPECT_EQ(Read(kConnectionStart), "");
  frames_.TakeCounts();
  for (int i = 0; i < 1'000; ++i) {
    frames_.OnAnswer(FrameType::kData);
    // Some clients grant both windows, and measure the bandwidth, for each frame.
    ASSERT_EQ(Read(Frame(FrameType::kWindowUpdate, 0, 0, "1234") +
                   Frame(FrameType::kWindowUpdate, 0, 1, "1234") + kPing),
              "");
  }
  EXPECT_EQ(frames_.TakeCounts().control, 0);
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(Read(kPing), "");
  EXPECT_EQ(frames_.TakeCounts().control, 0) << "they are free: four for each answer";
  // The server's own pings and refusals permit the client no additional control frames.
  frames_.OnAnswer(FrameType::kPing);
  frames_.OnAnswer(FrameType::kResetStream);
  EXPECT_EQ(Read(kPing + kPing), "");
  EXPECT_EQ(frames_.TakeCounts().control, 2);
}

TEST(FrameReader, IgnoresTheReservedBitOfTheStream) {
  std::string bytes = Data(1, "");
  bytes[5] = '\x80';
  absl::string_view rest = bytes;
  FrameReader reader;
  ASSERT_TRUE(reader.Next(&rest).has_value());
  EXPECT_EQ(reader.header().stream, 1);
}

TEST(GoAwayFrame, IsEncodedAsTheProtocolDemands) {
  using namespace std::string_literals;  // NOLINT(google-build-using-namespace): NULs
  EXPECT_EQ(GoAwayFrame(7, "why"), "\0\0\xb\7\0\0\0\0\0\0\0\0\7\0\0\0\xbwhy"s);
}

}  // namespace
}  // namespace vmeventd
