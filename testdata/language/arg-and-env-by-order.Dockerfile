FROM base
ENV X=env
ARG X=arg
RUN test "$X" = arg
ENV X=again
RUN test "$X" = again
ARG Y=arg
ENV Y=env-$Y
RUN test "$Y" = env-arg
ARG P=1 Q=$P
RUN test "$P$Q" = 11
