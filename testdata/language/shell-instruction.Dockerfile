FROM base
SHELL ["/bin/sh", "-exc"]
RUN false; true || touch /never
SHELL ["/bin/sh", "-c"]
RUN true
