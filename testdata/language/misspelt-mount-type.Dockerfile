FROM base
RUN --mount=type=cash,target=/x true
