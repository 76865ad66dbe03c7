FROM base
SHELL ["/bin/sh", "-uc"]
RUN test "$0" = sh || test -n "$0"
RUN echo "$UNSET_THING"
