# Compiles the runner, and holds the static programs of the kit. No sandbox is ever made from it.
FROM caisson/rootfs
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      gcc libc6-dev make libasan8 libubsan1 bash-static busybox-static \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
