FROM base
RUN --mount=type=secret,id=nope,required true
