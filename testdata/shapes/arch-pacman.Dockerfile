FROM archlinux:base-devel AS build
RUN useradd -m builder && echo 'builder ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers
USER builder
WORKDIR /home/builder/pkg
COPY --chown=builder PKGBUILD ./
RUN makepkg -s --noconfirm
FROM archlinux:base
RUN --mount=type=bind,from=build,source=/home/builder/pkg,target=/pkg pacman -U --noconfirm /pkg/*.pkg.tar.zst
