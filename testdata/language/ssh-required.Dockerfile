FROM base
RUN --mount=type=ssh,required true
