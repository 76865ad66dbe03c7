FROM base
COPY --parents dir/inner dir/deep/er/x /p/
COPY --parents ./dir/./deep/er/x /q/
COPY --parents **/x /r/
COPY --parents dir/d*/./*/x /s/
RUN set -e; test -f /p/dir/inner; test -f /p/dir/deep/er/x; test -f /q/deep/er/x; ! test -e /q/dir; test -f /r/dir/deep/er/x; test -f /s/er/x
