#!/usr/bin/perl
# A QEMU as far as its monitor goes, out of what a bare Debian has: serves PATH, which nobody but its
# own user may open, and powers off as its guest does when it gets a SIGUSR1. Leaves no zombie.
#
#   fake_qemu.pl PATH UID [exit|crash|eat]
#
# The last is its end at a SIGUSR2: exit code 3, an access to memory that is not there, or all memory
# that there is.
use strict;
use warnings;
use Socket;

my ($path, $uid, $end) = @ARGV;
socket(my $listener, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
umask 0177;
bind($listener, sockaddr_un($path)) or die "bind $path: $!";
chown $uid, $uid, $path or die "chown $path: $!";
$) = "$uid $uid";
$( = $uid;
($<, $>) = ($uid, $uid);
die 'still root' if $> != $uid;

my $client;
$SIG{USR1} = sub {
  syswrite $client, '{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "SHUTDOWN",'
    . ' "data": {"guest": true, "reason": "guest-shutdown"}}' . "\r\n";
  exit 0;
};
$SIG{USR2} = sub {
  exit 3 if $end eq 'exit';
  print unpack 'P1', pack 'J', 1 if $end eq 'crash';
  my @eaten;
  push @eaten, 'x' x (1 << 20) while 1;
};
listen($listener, 1) or die "listen: $!";
while (accept($client, $listener)) {
  syswrite $client,
    '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""},'
    . ' "capabilities": []}}' . "\r\n";
  while (my $line = readline $client) {
    my $id = $line =~ /"id": *("[^"]*"|\d+)/ ? ", \"id\": $1" : '';
    my $value = $line =~ /query-status/ ? '{"status": "running", "running": true}'
      : $line =~ /query-uuid/ ? '{"UUID": "00000000-0000-0000-0000-000000000000"}'
      : '{}';
    syswrite $client, "{\"return\": $value$id}\r\n";
  }
}
