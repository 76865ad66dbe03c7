FROM registry.fedoraproject.org/fedora:42
RUN dnf -y --setopt=install_weak_deps=False install httpd && dnf clean all && systemctl enable httpd
COPY --chown=apache:apache site/ /var/www/html/
EXPOSE 80
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
