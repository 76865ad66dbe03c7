# escape=`
FROM base
RUN echo a `
  b > /x
ENV P=c:\dir Q=`$NOT
RUN set -e; test "$(cat /x)" = "a b"; test "$P" = 'c:\dir'; test "$Q" = '$NOT'
