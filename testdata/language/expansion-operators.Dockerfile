FROM base
ENV V=a/b/c.tar.gz E=
ENV R1=${V##*/} R2=${V%%.*} R3=${V/b/X} R4=${V//\//-} R5=${U:-d} R6=${E-d} R7=${E:-d} R8=${V:+set} R9=${U+set} R10=${V#*/} R11=${V%.gz}
RUN set -e; eq() { test "$1" = "$2" || { echo "[$1] [$2]"; exit 1; }; }; eq "$R1" c.tar.gz; eq "$R2" a/b/c; eq "$R3" a/X/c.tar.gz; eq "$R4" a-b-c.tar.gz; eq "$R5" d; eq "$R6" ""; eq "$R7" d; eq "$R8" set; eq "$R9" ""; eq "$R10" b/c.tar.gz; eq "$R11" a/b/c.tar
