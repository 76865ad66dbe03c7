FROM perl:5.40-slim
RUN <<EOF
#!/usr/bin/env perl
use strict; use warnings;
open my $fh, '>', '/built' or die $!;
print $fh scalar(localtime), "\n";
EOF
RUN cat <<A && cat <<B
one
A
two
B
RUN 3<<DATA sh -c 'cat <&3'
from descriptor three
DATA
