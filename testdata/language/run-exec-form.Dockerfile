FROM base
ENV X=1
RUN ["/bin/sh", "-c", "test \"$X\" = 1 && echo '$X' > /x"]
RUN test "$(cat /x)" = '$X'
RUN [ "$X" = 1 ]
