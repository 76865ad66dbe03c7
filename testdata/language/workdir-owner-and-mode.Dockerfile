FROM base
USER 1234:2345
WORKDIR /home/deep/er
RUN set -e; test "$(stat -c %u:%g /home/deep/er)" = 1234:2345 || { stat -c '%n %u:%g' /home/deep /home/deep/er; exit 1; }; test "$(id -u):$(id -g)" = 1234:2345
