FROM base
COPY ignored /x
