FROM base
RUN --network=none test "$(ls /sys/class/net 2>/dev/null || echo lo)" = lo
