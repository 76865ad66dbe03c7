FROM base
RUN --mount=type=tmpfs,target=/t,size=1m set -e; echo x > /t/x; ! dd if=/dev/zero of=/t/big bs=1M count=3 2>/dev/null
RUN ! test -e /t/x
