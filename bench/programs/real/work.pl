# Counts words, matches patterns and substitutes in a text: what Perl is for.
use strict;
use warnings;
my ($file, $count) = @ARGV;
open(my $in, '<', $file) or die;
my @lines = map { scalar <$in> } 1 .. 300;
for my $round (1 .. $count) {
  my (%words, $swapped, $found);
  for my $line (@lines) {
    $words{lc $1}++ while $line =~ /(\w+)/g;
    $found++ if $line =~ /h(?:ou|a)se?.*(?:wine|bread)\b/;
    (my $copy = $line) =~ s/(\w+) (\w+)/$2 $1/g;
    $swapped += length $copy;
  }
  my @most = sort { $words{$b} <=> $words{$a} || $a cmp $b } keys %words;
  print "$round $found $swapped @most[0 .. 4]\n";
}
