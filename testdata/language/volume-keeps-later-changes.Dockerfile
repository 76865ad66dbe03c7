FROM base
VOLUME /vol
RUN mkdir /vol && echo kept > /vol/f
RUN test "$(cat /vol/f)" = kept
