#!/usr/bin/perl
# An ExternalIVR program for the rig's own tests, in the one interpreter that every Debian root has. It writes each
# line it gets from Asterisk to a log of its own (LOGDIR/UNIQUEID), and at `#` sets a variable and leaves to the
# dialplan.   probe.pl LOGDIR UNIQUEID
use strict;
use warnings;
use Fcntl;

my ($directory, $id) = @ARGV;
open(my $log, '>', "$directory/$id") or die "cannot write $directory/$id: $!\n";
# Packet mode: one write is one read of Asterisk's, or two commands in a row would wait for each other.
fcntl(STDOUT, F_SETFL, 040000) or die "no packet mode: $!\n";
my $keys = '';
my $buffer = '';
while (sysread(STDIN, $buffer, 65536, length $buffer)) {
    while ($buffer =~ s/^([^\n]*\n)//) {
        my $event = $1;
        syswrite($log, $event);
        next unless $event =~ /^([0-9*#]),/;
        if ($1 ne '#') { $keys .= $1; next }
        syswrite(STDOUT, "V,PROBE=$keys\n");
        syswrite(STDOUT, "E,done\n");
        # And on to the end of file, with stdout and stderr held open: an exit now could look like a death.
    }
}
syswrite($log, "eof\n");
