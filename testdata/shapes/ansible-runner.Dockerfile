FROM quay.io/ansible/ansible-runner:latest
COPY requirements.yml /tmp/
RUN ansible-galaxy collection install -r /tmp/requirements.yml -p /usr/share/ansible/collections
ENV ANSIBLE_CONFIG=/etc/ansible/ansible.cfg \
    ANSIBLE_FORCE_COLOR=1
COPY --chown=1000:0 --chmod=ug+rwX,o= project/ /runner/project/
USER 1000
