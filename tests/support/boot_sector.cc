#include "tests/support/boot_sector.h"

#include <cstddef>

namespace vmeventd::e2e {

std::string BootSector(const std::vector<unsigned char>& program) {
  std::string sector(program.begin(), program.end());
  sector.resize(510);
  return sector + "\x55\xaa";
}

std::string GuestSector(bool obeys_power_button, bool reboots_after_panic) {
  const unsigned char press = obeys_power_button ? 0x38 : 0xE6;   // off, wait
  const unsigned char panic = reboots_after_panic ? 0x08 : 0x1A;  // reset, hang
  // An 8086's program at 0x7C00. PM1a's registers are at 0x600 with QEMU's firmware.
  std::vector<unsigned char> code = {
      0xFA, 0x31,  0xC0, 0x8E, 0xD8,              //           cli; ds = 0
      0xBA, 0x02,  0x06, 0xB8, 0x00, 0x01, 0xEF,  //           outw 0x602, 0x100: enable the button
      0xBE, 0x80,  0x7C, 0xBA, 0xF8, 0x03,        //           si = text; dx = the serial line
      0xAC, 0x84,  0xC0, 0x74, 0x03,              // print:    al = *si++; if 0, wait
      0xEE, 0xEB,  0xF8,                          //           outb; print
      0xFB, 0xF4,  0xFA,                          // wait:     until the timer ticks
      0xBA, 0xFD,  0x03, 0xEC, 0xA8, 0x01,        //           inb 0x3FD: a byte on the line?
      0x75, 0x0F,                                 //           read
      0xBA, 0x00,  0x06, 0xED, 0xF6, 0xC4, 0x01,  //           inw 0x600: the power button?
      0x74, 0xEC,                                 //           else wait
      0xB8, 0x00,  0x01, 0xEF,                    //           outw 0x600, 0x100: it was seen
      0xEB, press,                                //
      0xBA, 0xF8,  0x03, 0xEC,                    // read:     inb 0x3F8
      0x3C, 'o',   0x74, 0x30,                    //           off
      0xB4, 0x28,  0x3C, 'h',  0x74, 0x2C,        //           ah = S4; sleep
      0xB4, 0x24,  0x3C, 's',  0x74, 0x26,        //           ah = S3; sleep
      0x3C, 'w',   0x74, 0x10,                    //           watchdog
      0x3C, 'r',   0x74, 0x14,                    //           reset
      0x3C, 'p',   0x75, 0xC6,                    //           else wait
      0xBA, 0x05,  0x05, 0xB0, 0x01, 0xEE,        //           outb 0x505, 1: pvpanic
      0xEB, panic,                                //
      0xBA, 0x43,  0x04, 0xB0, 0x0F, 0xEE,        // watchdog: outb 0x443, 15: expires at once
      0xEB, 0xB6,                                 //           wait
      0xBA, 0xF9,  0x0C, 0xB0, 0x06, 0xEE,        // reset:    outb 0xCF9, 6
      0xEB, 0x0A,                                 //           hang
      0xB4, 0x20,                                 // off:      ah = S5
      0x30, 0xC0,  0xBA, 0x04, 0x06, 0xEF,        // sleep:    outw 0x604, ax
      0xEB, 0xA4,                                 //           wait
      0xF4, 0xEB,  0xFD,                          // hang:     hlt; hang
  };
  constexpr size_t kText = 0x80;
  code.resize(kText);
  for (const char c : std::string("GUEST-READY\r\n")) {
    code.push_back(static_cast<unsigned char>(c));
  }
  return BootSector(code);
}

}  // namespace vmeventd::e2e
