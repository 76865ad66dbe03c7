FROM base
RUN echo 'kilnapp:x:1234:2345::/home/kilnapp:/bin/sh' >> /etc/passwd; printf 'kilnapp:x:2345:\ncrew:x:77:kilnapp\n' >> /etc/group
USER kilnapp
RUN set -e; test "$(id -u)" = 1234; test "$(id -g)" = 2345; id -G | grep -qw 77; test "$HOME" = /home/kilnapp
USER kilnapp:crew
RUN set -e; test "$(id -g)" = 77
USER 4321
RUN set -e; test "$(id -u):$(id -g)" = 4321:0; test "$HOME" = /
