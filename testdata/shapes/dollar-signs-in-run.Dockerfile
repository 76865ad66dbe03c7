FROM debian:bookworm-slim
RUN for f in /etc/*.conf; do echo "${f##*/}: $(wc -l < "$f")"; done
RUN x=$((1 << 3)); echo "$x" '$HOME' \$HOME $$ "${x:?not set}"
RUN echo "cat <<not-a-heredoc" && awk 'BEGIN { print "a" "b" }'
RUN cat > /etc/motd <<EOF
$(date +%Y): ${HOSTNAME:-none}
EOF
