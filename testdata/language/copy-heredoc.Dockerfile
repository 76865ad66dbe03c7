FROM base
ARG NAME=world
COPY <<one <<-"two" /h/
hello $NAME \$NAME
one
	literal $NAME
two
COPY <<EOF /single
x
EOF
COPY --chmod=755 <<EOF /bin/tool
#!/bin/sh
echo from-tool
EOF
RUN set -e; test "$(cat /h/one)" = 'hello world $NAME'; test "$(cat /h/two)" = 'literal $NAME'; test "$(cat /single)" = x; test "$(stat -c %a /single)" = 644; test "$(tool)" = from-tool
