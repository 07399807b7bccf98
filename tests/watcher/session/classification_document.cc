#include <cstdio>

#include "watcher/session/classification.h"

int main() {
  const std::string document = vmeventd::ClassificationDocument();
  return std::fwrite(document.data(), 1, document.size(), stdout) == document.size() ? 0 : 1;
}
