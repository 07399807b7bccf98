#include "client/cli/option.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "base/utf8.h"
#include "client/cli/option_error.h"
#include "client/cli/option_text.h"
#include "client/cli/values.h"
#include "client/output/enum_names.h"

namespace vmeventd::client {
namespace {

// "--label" of "-l,--label".
std::string LongName(absl::string_view names) {
  return std::string(names.substr(names.rfind(',') + 1));
}

}  // namespace

CLI::Option* AddOption(CLI::App* app, const std::string& names, const std::string& value_name,
                       const char* help, const TakeText& take) {
  const auto take_one = [take, name = LongName(names)](std::string& text) {
    if (absl::EndsWith(text, absl::string_view("]\0", 2))) text.pop_back();  // see AsOneValue()
    try {
      take(text);
    } catch (OptionError& error) {
      if (error.option.empty()) error.option = name;
      throw;
    }
    return std::string();
  };
  return app->add_option(names, CLI::callback_t(), help)
      ->transform(CLI::Validator(take_one, ""))
      ->type_name(names[0] == '-' ? value_name : "")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* AddList(CLI::App* app, const std::string& names, const std::string& value_name,
                     const char* help, const TakeText& take) {
  // Each option takes one text at a time, so that the help does not show the "..." of unlimited
  // ones.
  constexpr int kUnlimited = CLI::detail::expected_max_vector_size;
  const bool is_option = names[0] == '-';
  return AddOption(app, names, value_name, help, take)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1, is_option ? kUnlimited - 1 : kUnlimited)
      ->allow_extra_args(!is_option);
}

CLI::Option* AddFile(CLI::App* app, const char* names, const char* help, std::string* file) {
  return AddValue(app, names, "FILE", help, file);
}

CLI::Option* AddChecked(CLI::App* app, const char* names, const char* value_name, const char* help,
                        const std::function<absl::Status(absl::string_view)>& check,
                        std::string* value) {
  return AddOption(app, names, value_name, help, [=](const std::string& text) {
    ReadText(text, value);
    const absl::Status status = check(text);
    if (!status.ok()) Wrong(absl::StrCat("\"", text, "\" ", status.message()));
  });
}

void AddPair(CLI::App* app, const char* cert_name, const char* cert_help, const char* key_name,
             TlsOptions* tls) {
  CLI::Option* cert = AddFile(app, cert_name, cert_help, &tls->cert_file);
  cert->needs(AddFile(app, key_name,
                      absl::StrCat("the private key of ", cert_name, ", PEM").c_str(),
                      &tls->key_file)
                  ->needs(cert));
}

void AddNamesOf(CLI::App* app, const std::string& name, const char* help,
                const google::protobuf::EnumDescriptor* names,
                const std::function<void(int value)>& add) {
  const std::string value_name = absl::AsciiStrToUpper(name);
  const auto take = [=](const std::string& word) {
    if (const std::optional<int> value = ParseEnumName(*names, word)) return add(*value);
    // A single name helps more than the list of all, which may be long.
    const std::string hint = HintForValue(value_name, word);
    Wrong(absl::StrCat(
        "\"", word, "\" is not a known ", name,
        hint.empty() ? "; use one of " + absl::StrJoin(EnumNames(*names), ", ") : hint));
  };
  AddList(app, absl::StrCat("--", name), value_name, help, take)->delimiter(',');
}

}  // namespace vmeventd::client
