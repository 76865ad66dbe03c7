FROM base
COPY file /x
COPY dir /x
