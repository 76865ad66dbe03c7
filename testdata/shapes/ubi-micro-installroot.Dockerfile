FROM registry.access.redhat.com/ubi9/ubi AS build
RUN mkdir -p /mnt/rootfs
RUN dnf install --installroot /mnt/rootfs coreutils-single glibc-minimal-langpack --releasever 9 \
      --setopt install_weak_deps=false --nodocs -y && \
    dnf --installroot /mnt/rootfs clean all
RUN rm -rf /mnt/rootfs/var/cache/* /mnt/rootfs/var/log/dnf*

FROM scratch
LABEL maintainer="Team <team@example.com>" \
      com.redhat.component="ubi9-micro-container" \
      summary="ubi9 micro image" \
      description="Very small image which doesn't install the package manager."
COPY --from=build /mnt/rootfs/ /
USER 1001
CMD ["/bin/sh"]
