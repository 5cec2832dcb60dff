# What an agent needs at the least: a shell, version control, search, and the usual text tools.
FROM caisson/rootfs
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      bash ca-certificates curl diffutils file findutils git jq less patch procps ripgrep unzip wget xz-utils \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
# A number no host account is likely to have; the group carries the same one.
RUN groupadd --gid 10001 agent \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/agent --shell /bin/bash agent \
 && mkdir /workspace && chown agent:agent /workspace \
 && git config --system init.defaultBranch main \
 && git config --system user.name agent \
 && git config --system user.email agent@caisson.invalid
ENV HOME=/home/agent \
    PATH=/home/agent/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /workspace
USER 10001:10001
