# The image of vmeventd; docs/install.md explains how to build and run it.
#
#   docker build -t vmeventd .
#   docker build --target client -t vmevents .
#   docker build --target kubevirt -t vmeventd-kubevirt .
#
# Any Debian 12 or 13 works as the base; the tests make their own.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
# Each of these is among the packages of ./dev; a test compares them.
RUN apt-get -q update && \
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
      ccache cmake g++ gcc-bpf ninja-build pkg-config \
      libabsl-dev libbpf-dev libcap-ng-dev libcli11-dev libcurl4-openssl-dev libexpat1-dev libgnutls28-dev libgrpc++-dev libmicrohttpd-dev libnats-dev \
      libprotobuf-dev libspdlog-dev libtomlplusplus-dev libsqlite3-dev libsqlitecpp-dev libssl-dev libsystemd-dev libvirt-dev nlohmann-json3-dev \
      prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The number of parallel compilers, each with up to 1.5 GiB of memory; empty: one per CPU.
ARG JOBS=
# If you build images often, mount a volume at /ccache; the locale is part of its keys.
RUN export CCACHE_DIR=/ccache CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 LANG=C.UTF-8 && \
    cmake --preset release -DBUILD_TESTING=OFF && \
    ninja -C build/release ${JOBS:+-j "$JOBS"} vmeventd vmevents && \
    install -D -s -t /image/bin build/release/bin/vmeventd build/release/bin/vmevents && \
    deploy/container/runtime_packages.sh /image/bin/* >/image/packages && \
    deploy/container/runtime_packages.sh /image/bin/vmevents >/image/client-packages && \
    for library in libcurl libmicrohttpd; do dpkg-query -S "$(readlink -f /usr/lib/*/$library.so)"; done | cut -d: -f1 | \
      tee -a /image/packages >>/image/client-packages && \
    dpkg-query -S "$(readlink -f /usr/lib/*/libnats.so)" | cut -d: -f1 >/image/nats-packages

# The client alone.
FROM ${BASE} AS client
COPY --from=build /image/client-packages /image/nats-packages /src/deploy/container/install_runtime.sh /tmp/
# yes: with NATS's client library, for --server nats:// and push nats://.
ARG NATS=
RUN /tmp/install_runtime.sh /tmp/client-packages ${NATS:+$(cat /tmp/nats-packages) ca-certificates}
COPY --from=build /image/bin/vmevents /usr/bin/
ARG BASE
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="vmevents" \
      org.opencontainers.image.description="Watches who ended each QEMU, on one node or on many" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}"
USER 65532:65532
ENTRYPOINT ["vmevents"]

# What connects a node's vmeventd with KubeVirt.
FROM ${BASE} AS kubevirt
COPY client/python /src/client/python
COPY proto /src/proto
RUN apt-get -q update && \
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
      libprotobuf-dev protobuf-compiler protobuf-compiler-grpc python3-grpcio python3-kubernetes python3-protobuf && \
    /src/client/python/stubs.py /usr/lib/python3/dist-packages && \
    apt-get -q -y --auto-remove purge libprotobuf-dev protobuf-compiler protobuf-compiler-grpc && apt-get clean && \
    rm -rf /src /var/lib/apt/lists/*
COPY deploy/hooks/kubevirt_vmeventd.py /usr/bin/
ARG BASE
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="vmeventd-kubevirt" \
      org.opencontainers.image.description="Intents, Events and conditions of KubeVirt's VMs, by a node's vmeventd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}"
ENTRYPOINT ["kubevirt_vmeventd.py"]

FROM ${BASE}
COPY --from=build /image/packages /image/nats-packages /src/deploy/container/install_runtime.sh /tmp/
# yes: with libvirt's client library, which --libvirt loads.
ARG LIBVIRT=
# yes: with NATS's client library, for vmevents push nats://.
ARG NATS=
RUN /tmp/install_runtime.sh /tmp/packages ${LIBVIRT:+libvirt0} ${NATS:+$(cat /tmp/nats-packages) ca-certificates} && \
    install -d -o vmeventd -g vmeventd -m 0750 /run/vmeventd /var/lib/vmeventd
COPY --from=build /image/bin/ /usr/bin/

ARG BASE
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="vmeventd" \
      org.opencontainers.image.description="Says who ended each QEMU of a node: user, admin or crash" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}"

# Makes /run/vmeventd/vmeventd.sock and /var/lib/vmeventd the defaults of daemon and client for every
# user, as they are for root.
ENV XDG_RUNTIME_DIR=/run XDG_STATE_HOME=/var/lib
VOLUME ["/run/vmeventd", "/var/lib/vmeventd"]
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["vmevents", "health"]
ENTRYPOINT ["vmeventd"]
