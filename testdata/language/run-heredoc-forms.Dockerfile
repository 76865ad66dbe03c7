FROM base
RUN <<EOF
set -e
echo one > /1
X=shell-var
echo $X > /2
EOF
RUN <<EOF sh
echo three > /3
EOF
RUN <<-EOF
	echo four > /4
EOF
RUN cat <<A > /5 && cat <<"B" > /6
five
A
$SIX
B
RUN <<EOF
#!/bin/sh
echo "seven $0" > /7
EOF
RUN set -e; test "$(cat /1)" = one; test "$(cat /2)" = shell-var; test "$(cat /3)" = three; test "$(cat /4)" = four; test "$(cat /5)" = five; test "$(cat /6)" = '$SIX'; grep -q ^seven /7
