FROM ubuntu:24.04
ARG USERNAME=vscode
ARG USER_UID=1000
ARG USER_GID=$USER_UID
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive TERM=xterm-256color
RUN apt-get update \
    && apt-get -y install --no-install-recommends curl git sudo zsh 2>&1 \
    #
    # Verify git and process tools installed
    && apt-get -y install procps lsb-release \
    && groupmod --new-name $USERNAME ubuntu \
    && usermod --login $USERNAME --home /home/$USERNAME --move-home ubuntu \
    && echo $USERNAME ALL=\(root\) NOPASSWD:ALL > /etc/sudoers.d/$USERNAME \
    && chmod 0440 /etc/sudoers.d/$USERNAME
ENV DEBIAN_FRONTEND=dialog
USER ${USERNAME}
