#include <cstdio>

#include "tests/watcher/session/classification_document.h"

int main() {
  const std::string document = vmeventd::ClassificationDocument();
  return std::fwrite(document.data(), 1, document.size(), stdout) == document.size() ? 0 : 1;
}
