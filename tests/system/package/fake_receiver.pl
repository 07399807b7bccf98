#!/usr/bin/perl
# Accepts everything that is POSTed to 127.0.0.1:PORT, and appends its body to FILE, a line each.
#
#   fake_receiver.pl PORT FILE
use strict;
use warnings;
use IO::Handle;
use Socket;

my ($port, $path) = @ARGV;
open my $file, '>>', $path or die "open $path: $!";
$file->autoflush(1);
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!";
bind($listener, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die "bind: $!";
listen($listener, 8) or die "listen: $!";
while (accept(my $client, $listener)) {
  my $length = 0;
  while (defined(my $line = readline $client)) {
    $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
    last if $line =~ /^\r?\n$/;
  }
  my $body = '';
  read $client, $body, $length;
  print $file "$body\n";
  syswrite $client, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
  close $client;
}
