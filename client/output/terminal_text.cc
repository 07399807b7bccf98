#include "client/output/terminal_text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vmeventd::client {
namespace {

struct Decoded {
  uint32_t code_point;
  size_t length;  // 0: not UTF-8
};

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// The character at the start of `text`, which is not empty.
Decoded DecodeUtf8(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  size_t length = 0;
  uint32_t code_point = 0;
  uint32_t smallest = 0;
  if ((lead & 0xE0) == 0xC0) {
    length = 2, code_point = lead & 0x1F, smallest = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    length = 3, code_point = lead & 0x0F, smallest = 0x800;
  } else if ((lead & 0xF8) == 0xF0) {
    length = 4, code_point = lead & 0x07, smallest = 0x10000;
  } else {
    return {0, 0};
  }
  if (text.size() < length) return {0, 0};
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(byte(i))) return {0, 0};
    code_point = (code_point << 6) | (byte(i) & 0x3F);
  }
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < smallest || code_point > 0x10FFFF || surrogate) return {0, 0};
  return {code_point, length};
}

struct Range {
  uint32_t first;
  uint32_t last;
};

// Characters that steer the terminal or the order of text, or that cannot be seen, so that two
// names which differ look the same (Unicode 15: Cc, Cf, Zl, Zp and the fillers).
constexpr Range kHidden[] = {
    {0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},       {0x34F, 0x34F},
    {0x600, 0x605},     {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},
    {0x890, 0x891},     {0x8E2, 0x8E2},     {0x115F, 0x1160},   {0x17B4, 0x17B5},
    {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},   {0x2060, 0x206F},
    {0x3164, 0x3164},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
    {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F},
    {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};

bool IsHidden(uint32_t code_point) {
  return std::any_of(std::begin(kHidden), std::end(kHidden), [code_point](const Range& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

std::string EscapeCharacter(uint32_t code_point) {
  if (code_point < 0x80) return absl::StrFormat("\\x%02x", code_point);
  if (code_point <= 0xFFFF) return absl::StrFormat("\\u%04x", code_point);
  return absl::StrFormat("\\U%08x", code_point);
}

const char* ColorCode(Color color) {
  switch (color) {
    case Color::kNone:
      return "";
    case Color::kBold:
      return "1";
    case Color::kDim:
      return "2";
    case Color::kRed:
      return "1;31";
    case Color::kGreen:
      return "32";
    case Color::kYellow:
      return "33";
    case Color::kBlue:
      return "34";
    case Color::kCyan:
      return "36";
  }
  return "";
}

}  // namespace

std::string EscapeForTerminal(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded decoded = DecodeUtf8(text);
    if (decoded.length == 0) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    if (IsHidden(decoded.code_point)) {
      out += EscapeCharacter(decoded.code_point);
    } else {
      out.append(text.data(), decoded.length);
    }
    text.remove_prefix(decoded.length);
  }
  return out;
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = DecodeUtf8(text).length;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

size_t DisplayWidth(absl::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return !IsContinuation(static_cast<unsigned char>(c));
  }));
}

std::string Painter::Paint(absl::string_view text, Color color) const {
  if (!enabled_ || color == Color::kNone || text.empty()) return std::string(text);
  return absl::StrCat("\x1b[", ColorCode(color), "m", text, "\x1b[0m");
}

ColumnLayout::ColumnLayout(std::vector<Column> columns, const Painter& painter)
    : painter_(painter), columns_(std::move(columns)) {
  for (Column& column : columns_) {
    column.min_width = std::max(column.min_width, DisplayWidth(column.heading));
  }
}

void ColumnLayout::Fit(const std::vector<Cell>& row) {
  for (size_t i = 0; i < row.size(); ++i) {
    columns_[i].min_width = std::max(columns_[i].min_width, DisplayWidth(row[i].text));
  }
}

std::string ColumnLayout::Line(const std::vector<Cell>& row) const {
  std::string line;
  size_t owed = 0;  // blanks that are written only if more text follows
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t width = DisplayWidth(row[i].text);
    if (width > 0) {
      line.append(owed, ' ');
      line += painter_.Paint(row[i].text, row[i].color);
      owed = 0;
    }
    owed += std::max(columns_[i].min_width, width) - width + 2;
  }
  line += '\n';
  return line;
}

std::string ColumnLayout::Heading() const {
  std::vector<Cell> row;
  for (const Column& column : columns_) row.push_back({column.heading, Color::kBold});
  return Line(row);
}

}  // namespace vmeventd::client
