from base as Build
# a comment
run echo one \
  # in between
  two \

  three > /x
FROM base
COPY --from=build /x /x
RUN test "$(cat /x)" = "one two three"
