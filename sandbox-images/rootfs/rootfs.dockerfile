# The base root file system. What stands behind `caisson/rootfs-source` is decided at build time: the public
# Debian image where it can be pulled, else a root made here by mmdebstrap (daemon/sandbox/rootfs.ts).
FROM caisson/rootfs-source
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8
CMD ["/bin/bash"]
