FROM base
ENV A=old
ENV A=new B=$A C="quoted $A" D='single $A' E=esc\ aped
RUN set -e; test "$A" = new; test "$B" = old; test "$C" = "quoted old"; test "$D" = 'single $A'; test "$E" = "esc aped"
