#include "tests/support/nats_keys.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "nlohmann/json.hpp"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

using nlohmann::json;

// First bytes of encoded keys: they say what a key is.
constexpr uint8_t kSeed = 18 << 3;
constexpr uint8_t kOperator = 14 << 3;
constexpr uint8_t kAccount = 0;
constexpr uint8_t kUser = 20 << 3;

// CRC-16/XMODEM.
uint16_t Crc(const std::string& bytes) {
  uint16_t crc = 0;
  for (const char byte : bytes) {
    crc = static_cast<uint16_t>(crc ^ (static_cast<unsigned char>(byte) << 8));
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
  }
  return crc;
}

// Base32 without padding, of the bytes and their checksum.
std::string Encode(std::string bytes) {
  const uint16_t crc = Crc(bytes);
  bytes.push_back(static_cast<char>(crc & 0xff));
  bytes.push_back(static_cast<char>(crc >> 8));
  std::string text;
  uint32_t buffer = 0;
  int bits = 0;
  for (const char byte : bytes) {
    buffer = (buffer << 8) | static_cast<unsigned char>(byte);
    for (bits += 8; bits >= 5; bits -= 5) {
      text.push_back("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(buffer >> (bits - 5)) & 31]);
    }
  }
  if (bits > 0) text.push_back("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(buffer << (5 - bits)) & 31]);
  return text;
}

using DigestPtr = std::unique_ptr<EVP_MD_CTX, OpensslDeleter<EVP_MD_CTX_free>>;

std::string Base64Url(const std::string& bytes) {
  std::string text;
  absl::WebSafeBase64Escape(bytes, &text);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return text;
}

}  // namespace

class NatsKey {
 public:
  explicit NatsKey(uint8_t kind)
      : kind_(kind), key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")) {
    if (key_ == nullptr) Fail("no Ed25519 key can be made");
  }

  std::string Public() const {
    return Encode(std::string(1, static_cast<char>(kind_)) + Raw(EVP_PKEY_get_raw_public_key));
  }
  std::string Seed() const {
    std::string bytes;
    bytes.push_back(static_cast<char>(kSeed | (kind_ >> 5)));
    bytes.push_back(static_cast<char>((kind_ & 31) << 3));
    return Encode(bytes + Raw(EVP_PKEY_get_raw_private_key));
  }
  // A token in which this key says `claims` of `subject`.
  std::string Token(const std::string& subject, const std::string& name, json claims) const {
    claims["version"] = 2;
    const json body = {{"jti", subject}, {"iat", 1'600'000'000}, {"iss", Public()},
                       {"name", name},   {"sub", subject},       {"nats", std::move(claims)}};
    const std::string text =
        absl::StrCat(Base64Url(json{{"typ", "JWT"}, {"alg", "ed25519-nkey"}}.dump()), ".",
                     Base64Url(body.dump()));
    return absl::StrCat(text, ".", Base64Url(Sign(text)));
  }

 private:
  std::string Raw(int (*get)(const EVP_PKEY*, unsigned char*, size_t*)) const {
    std::array<unsigned char, 32> bytes{};
    size_t size = bytes.size();
    if (get(key_.get(), bytes.data(), &size) != 1) Fail("an Ed25519 key cannot be read");
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }
  std::string Sign(const std::string& text) const {
    const DigestPtr context(EVP_MD_CTX_new());
    std::array<unsigned char, 64> bytes{};
    size_t size = bytes.size();
    if (EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), bytes.data(), &size,
                       reinterpret_cast<const unsigned char*>(text.data()), text.size()) != 1) {
      Fail("nothing can be signed");
    }
    return {reinterpret_cast<const char*>(bytes.data()), size};
  }

  const uint8_t kind_;
  const KeyPtr key_;
};

NatsOperator::NatsOperator()
    : operator_(std::make_unique<NatsKey>(kOperator)),
      account_(std::make_unique<NatsKey>(kAccount)),
      system_(std::make_unique<NatsKey>(kAccount)) {}
NatsOperator::~NatsOperator() = default;

std::string NatsOperator::Configuration() const {
  const auto limits = [](int storage) {
    return json{{"subs", -1},
                {"conn", -1},
                {"leaf", -1},
                {"imports", -1},
                {"exports", -1},
                {"data", -1},
                {"payload", -1},
                {"wildcards", true},
                {"mem_storage", storage},
                {"disk_storage", storage},
                {"streams", -1},
                {"consumer", -1}};
  };
  const auto account = [&](const NatsKey& key, const char* name, int storage) {
    return operator_->Token(key.Public(), name, {{"type", "account"}, {"limits", limits(storage)}});
  };
  return absl::StrCat(
      "operator: ",
      operator_->Token(operator_->Public(), "tests",
                       {{"type", "operator"}, {"system_account", system_->Public()}}),
      "\nsystem_account: ", system_->Public(), "\nresolver: MEMORY\nresolver_preload: {\n  ",
      account_->Public(), ": ", account(*account_, "vmevents", -1), "\n  ", system_->Public(), ": ",
      account(*system_, "SYS", 0), "\n}\n");
}

std::string NatsOperator::MakeCredentials(const std::string& name,
                                          const NatsPermissions& permissions) const {
  const NatsKey user(kUser);
  json claims = {{"type", "user"}, {"subs", -1}, {"data", -1}, {"payload", -1}};
  if (!permissions.publish.empty()) claims["pub"]["allow"] = permissions.publish;
  if (!permissions.subscribe.empty()) claims["sub"]["allow"] = permissions.subscribe;
  return absl::StrCat("-----BEGIN NATS USER JWT-----\n",
                      account_->Token(user.Public(), name, claims),
                      "\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n",
                      user.Seed(), "\n------END USER NKEY SEED------\n");
}

}  // namespace vmeventd::e2e
