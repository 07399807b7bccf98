# shellcheck shell=bash disable=SC2154,SC2034
# Guests on real QEMUs, for those who have set dir, and pids as an associative array.
#
# The guest is a boot sector. It writes a byte to its serial line and waits for one there or for the power
# button. With "p" it panics, else it powers the machine off by ACPI, both as an operating system does. It runs on
# every architecture that has QEMU.

# PM1a's registers are at 0x600 with QEMU's firmware.
boot_sector() {
  local code=(
    FA                       #        cli
    BA 02 06 B8 00 01 EF     #        outw 0x602, 0x0100      enable the power button
    BA F8 03 B0 21 EE        #        outb 0x3F8, '!'         and say so
    BA FD 03 EC A8 01        # again: inb 0x3FD, test 1       a byte on the serial line?
    75 12                    #        jnz read
    BA 00 06 ED F6 C4 01     #        inw 0x600, test 0x0100  the power button?
    74 EF                    #        jz again
    BA 04 06 B8 00 20 EF     # off:   outw 0x604, 0x2000      SLP_EN of S5
    EB FE                    #        jmp .
    BA F8 03 EC 3C 70 75 EF  # read:  inb 0x3F8, cmp 'p', jne off
    BA 05 05 B0 01 EE        #        outb 0x505, 1           pvpanic
    EB FE                    #        jmp .
  )
  # shellcheck disable=SC2059  # the format is the code
  printf "$(printf '\\x%s' "${code[@]}")"
  head -c $((510 - ${#code[@]})) /dev/zero
  printf '\x55\xAA'
}

# boot NAME serial|monitor: a guest whose serial line, or QEMU's own prompt, reads what is written to
# $dir/NAME. What the guest writes is in $dir/NAME.output. Its pid: pids[NAME].
boot() {
  local serial=stdio monitor=none out=$dir/$1.output
  if [[ $2 == monitor ]]; then serial=file:$out monitor=stdio out=/dev/null; fi
  mkfifo "$dir/$1"
  qemu-system-x86_64 -nodefaults -display none -m 16 -drive "file=$dir/disk,format=raw,snapshot=on" \
    -device pvpanic -serial "$serial" -monitor "$monitor" -chardev "socket,id=events,path=/run/qemu/$1.qmp,server=on,wait=off" \
    -mon chardev=events,mode=control <>"$dir/$1" >"$out" &
  pids[$1]=$!
  disown  # bash would report the kill
}

make_guests_disk() {
  boot_sector >"$dir/disk"
  mkdir -p /run/qemu
  [[ $(stat -c %s "$dir/disk") == 512 ]]
}
