#pragma once

#include <string>

#include "client/output/table_style.h"
#include "client/output/vm_story.h"

namespace vmeventd::client {

// The text of `why`: first the verdict, then the facts behind it, then the VM's present state.
std::string StoryText(const VmStory& story, const TableStyle& style);

}  // namespace vmeventd::client
