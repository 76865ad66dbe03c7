FROM base
ENV LEGACY a  b "c" $PATH_UNSET end
RUN test "$LEGACY" = 'a  b c  end' || { echo "[$LEGACY]"; exit 1; }
