#include "server/transport/frames.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vmeventd {
namespace {

std::string DataFrame(uint32_t stream, const std::string& payload, uint8_t flags = 0) {
  return EncodeFrame({.type = FrameType::kData, .flags = flags, .length = 0, .stream = stream},
                     payload);
}

TEST(FrameReader, FindsFramesHoweverTheyAreSplit) {
  const std::string bytes =
      DataFrame(1, "hello") + DataFrame(0x7fffffff, "", 1) + DataFrame(3, std::string(300, 'x'));
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    FrameReader reader;
    std::vector<FrameHeader> headers;
    std::string again;
    int ends = 0;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      absl::string_view part_of = absl::string_view(bytes).substr(at, piece);
      while (const auto part = reader.Next(&part_of)) {
        if (part->is_header) headers.push_back(reader.header());
        again.append(part->bytes.data(), part->bytes.size());
        if (part->ends_frame) {
          ++ends;
          EXPECT_TRUE(reader.between_frames());
        }
      }
      EXPECT_TRUE(part_of.empty());
    }
    EXPECT_EQ(again, bytes);
    EXPECT_EQ(ends, 3);
    EXPECT_TRUE(reader.between_frames());
    ASSERT_EQ(headers.size(), 3);
    EXPECT_EQ(headers[0].length, 5);
    EXPECT_EQ(headers[1].stream, 0x7fffffff);
    EXPECT_TRUE(headers[1].EndsStream());
    EXPECT_EQ(headers[2].length, 300);
  }
}

TEST(FrameReader, IsWithinAFrameUntilItsLastByte) {
  const std::string bytes = DataFrame(1, "ab");
  FrameReader reader;
  EXPECT_TRUE(reader.between_frames());
  for (size_t i = 0; i < bytes.size(); ++i) {
    absl::string_view byte = absl::string_view(bytes).substr(i, 1);
    reader.Next(&byte);
    EXPECT_EQ(reader.between_frames(), i + 1 == bytes.size());
  }
}

TEST(FrameReader, IgnoresTheReservedBitOfTheStream) {
  std::string bytes = DataFrame(1, "");
  bytes[5] = '\x80';
  absl::string_view rest = bytes;
  FrameReader reader;
  ASSERT_TRUE(reader.Next(&rest).has_value());
  EXPECT_EQ(reader.header().stream, 1);
}

TEST(Frames, OfABlockWhatChangesTheTableIsFound) {
  // RFC 7541, C.6.1, with a change of the table's size before it: fields 58 and 54 are inserted,
  // both with Huffman's code.
  const std::string resize = "\x3f\xe1\x1f";
  const std::string insert = "\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b";
  const std::string never =
      "\x1f\x08\x03"
      "abc"
      "\x0f\x2b\x01"
      "d"
      "\x10\x01"
      "n\x01v";
  EXPECT_EQ(TableChanges(resize + "\x82" + insert + never + "\xff\x80\x01"), resize + insert);
  EXPECT_EQ(TableChanges(""), "");
  const std::string long_value = "\x41\x7f\x81\x01" + std::string(256, 'x');
  EXPECT_EQ(TableChanges(long_value), long_value);
  for (const std::string& half :
       {insert.substr(0, 3), std::string("\x3f"), std::string("\x40"),
        std::string("\xff\xff\xff\xff\xff\xff\xff"), long_value.substr(0, 200)}) {
    EXPECT_EQ(TableChanges(half), std::nullopt);
  }
}

TEST(Frames, AreEncodedAsTheProtocolSays) {
  using namespace std::string_literals;  // NOLINT(google-build-using-namespace): NULs
  EXPECT_EQ(ResetStreamFrame(5, Http2Error::kCancel), "\0\0\x4\x3\0\0\0\0\x5\0\0\0\x8"s);
  EXPECT_EQ(WindowUpdateFrame(0, 0x10203), "\0\0\x4\x8\0\0\0\0\0\0\1\2\3"s);
  EXPECT_EQ(GoAwayFrame(7, Http2Error::kEnhanceYourCalm, "why"),
            "\0\0\xb\x7\0\0\0\0\0\0\0\0\7\0\0\0\xbwhy"s);
  EXPECT_EQ(TrailersOnlyFrame(3, 8, "no"),
            "\0\0\x40\1\5\0\0\0\3\x88\0\14content-type\20application/grpc"
            "\0\13grpc-status\0018\0\14grpc-message\2no"s);
  const size_t before_message = 9 + 1 + 31 + 15 + 14;
  EXPECT_EQ(TrailersOnlyFrame(3, 8, std::string(200, 'x')).substr(before_message, 4), "\x7fIxx")
      << "a length of more than seven bits";
}

}  // namespace
}  // namespace vmeventd
