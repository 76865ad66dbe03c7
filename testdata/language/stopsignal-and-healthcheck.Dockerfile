FROM base
STOPSIGNAL SIGKILL
STOPSIGNAL 9
HEALTHCHECK --interval=1s --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD true
HEALTHCHECK NONE
EXPOSE 80/tcp 81-83/udp
LABEL a=b "c d"="e f"
RUN true
