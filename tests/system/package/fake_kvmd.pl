#!/usr/bin/perl
# ganeti-kvmd as far as others notice it: takes the monitors of the Ganeti directory for as long as it
# runs, and leaves its pid where Ganeti looks. Without -f it goes to the background. With --version it ends at
# once. Installed as ganeti-kvmd, which is its name in the process list then.
use strict;
use warnings;
use Socket;

exit 0 if grep { $_ eq '--version' } @ARGV;
if (!@ARGV || $ARGV[0] ne '-f') {
  exit 0 if fork;
  open STDIN, '<', '/dev/null' or die "/dev/null: $!";
  open STDOUT, '>', '/dev/null' or die "/dev/null: $!";
  open STDERR, '>', '/dev/null' or die "/dev/null: $!";
}
open my $pid, '>', '/run/ganeti/ganeti-kvmd.pid' or die "pid file: $!";
print $pid "$$\n";
close $pid or die "pid file: $!";

my %held;
while (1) {
  for my $path (glob '/run/ganeti/kvm-hypervisor/ctrl/*.kvmd') {
    next if $held{$path};
    socket(my $monitor, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
    $held{$path} = $monitor if connect($monitor, sockaddr_un($path));
  }
  select undef, undef, undef, 0.1;
}
