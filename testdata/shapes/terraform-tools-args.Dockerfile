FROM alpine:3.22 AS fetch
ARG TERRAFORM_VERSION=1.12.0
ARG KUBECTL_VERSION=v1.33.0
ARG HELM_VERSION=3.17.3
ARG TARGETARCH=amd64
WORKDIR /out
RUN apk add --no-cache curl unzip
RUN curl -fsSLo tf.zip "https://releases.hashicorp.com/terraform/${TERRAFORM_VERSION}/terraform_${TERRAFORM_VERSION}_linux_${TARGETARCH}.zip" \
 && unzip -o tf.zip terraform && rm tf.zip
RUN curl -fsSLO "https://dl.k8s.io/release/${KUBECTL_VERSION}/bin/linux/${TARGETARCH}/kubectl" && chmod 755 kubectl
RUN curl -fsSL "https://get.helm.sh/helm-v${HELM_VERSION}-linux-${TARGETARCH}.tar.gz" | tar -xz --strip-components=1 "linux-${TARGETARCH}/helm"
FROM alpine:3.22
COPY --from=fetch /out/ /usr/local/bin/
