FROM base
RUN echo 'kilnapp:x:1234:2345::/home/kilnapp:/bin/sh' >> /etc/passwd; echo 'crew:x:77:' >> /etc/group; echo 'kilnapp:x:2345:' >> /etc/group
COPY --chown=kilnapp file /a
COPY --chown=kilnapp:crew file /b
COPY --chown=:crew file /c
COPY --chown=55 file /d
COPY --chown=55:66 dir /e
ARG WHO=kilnapp
COPY --chown=$WHO:crew file /f
RUN set -e; own() { test "$(stat -c %u:%g $1)" = $2 || { stat -c '%n %u:%g' $1; false; }; }; own /a 1234:2345; own /b 1234:77; own /c 0:77; own /d 55:55; own /e/inner 55:66; own /e 55:66; own /f 1234:77
